"""The options that several commands share, and how ``KEY=VALUE`` is read.

Nothing here imports torch before an option is read, so ``--help`` answers at once.
"""

import argparse
import ast
import os
from collections.abc import Sequence

from ..errors import UserError
from .messages import one_line

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


class OptionsAction(argparse.Action):
    """mmengine's ``KEY=VALUE`` options, with a clear error for what it cannot read."""

    def __call__(self, parser, namespace, values, option_string=None):
        """Add the options to the namespace's dict.

        Raises:
            UserError: one of them is not of the form KEY=VALUE.
        """
        options = dict(getattr(namespace, self.dest) or {})
        try:
            for pair in values:
                key, value = pair.split('=', maxsplit=1)
                options[key] = _read_value(value)
        except (ValueError, AssertionError) as error:
            raise UserError(
                f'{option_string} {" ".join(values)}: expected KEY=VALUE ..., such as '
                'train_dataloader.batch_size=4 or model.backbone.out_indices="[1,2,3]"; '
                f'{one_line(error)}'
            ) from error
        setattr(namespace, self.dest, options)


def _read_value(text: str):
    """Read a value as mmengine does, and dicts, which mmengine leaves as strings."""
    if not text.lstrip('[( ').startswith(('dict(', '{')):
        from mmengine.config import DictAction  # imports torch, which --help does without

        return DictAction._parse_iterable(text)
    try:
        return _literal(ast.parse(text.strip(), mode='eval').body)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f'{text} is not a dict of plain values: {one_line(error)}') from error


def _literal(node: ast.expr):
    """Evaluate a literal in which dicts may be written as ``dict(key=value)``."""
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_literal(item) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    if isinstance(node, ast.Dict):
        return dict(zip(map(_literal, node.keys), map(_literal, node.values), strict=True))
    if isinstance(node, ast.Call) and ast.unparse(node.func) == 'dict' and not node.args:
        return {pair.arg: _literal(pair.value) for pair in node.keywords}
    return ast.literal_eval(node)


def tool_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the option that every tool has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        '--debug',
        action='store_true',
        help='also print the traceback of an error, and all warnings and log lines',
    )
    return parser


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names a config."""
    parser.add_argument(
        'config', help='a config file, or the name of one that comes with this package'
    )


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add the option that changes settings of the config."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        metavar='KEY=VALUE',
        help='settings to change in the config: a.b=1, a.c="[1,2]", a.d="(1,2)"',
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a device, as ``find_device`` takes it."""
    parser.add_argument('--device', help='cpu, cuda or cuda:N (cuda where there is one)')


def make_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that training and testing share."""
    parser = tool_parser(description)
    add_config(parser)
    parser.add_argument(
        '--work-dir', help='folder for logs and checkpoints (work_dirs/NAME_OF_CONFIG)'
    )
    parser.add_argument(
        '--data-root',
        help='folder of the data set in its official layout, or one that contains it as coco/, '
        'ade/ADEChallengeData2016/ or imagenet/',
    )
    add_cfg_options(parser)
    parser.add_argument(
        '--gpus',
        type=int,
        default=1,
        metavar='N',
        help='start N processes, one per GPU, or on the CPU if there is no GPU (1)',
    )
    parser.add_argument(
        '--launcher', choices=LAUNCHERS, default='none', help='what started the processes (none)'
    )
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments and pass the rank on to where mmengine looks for it.

    Raises:
        UserError: a number of GPUs below 1.
    """
    args = parser.parse_args(argv)
    if args.gpus < 1:
        raise UserError(f'--gpus {args.gpus}: expected a number above 0')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def add_train_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of training that change its config."""
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision, whatever the config says'
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the total batch size',
    )
    parser.add_argument(
        '--from-scratch', action='store_true', help='do not load pretrained weights'
    )
    add_classes(parser)
    parser.add_argument(
        '--seed',
        type=int,
        help="the seed of all random numbers (the config's, or a new one per run)",
    )
    parser.add_argument(
        '--deterministic',
        action='store_true',
        help='give the same bits in each run with the same seed (slower)',
    )
    parser.add_argument(
        '--tensorboard',
        action='store_true',
        help='write curves and predictions on a few images for `tensorboard --logdir`, too',
    )


def add_classes(parser: argparse.ArgumentParser) -> None:
    """Add the options that take the classes from the data set."""
    parser.add_argument(
        '--classes-from-data',
        action='store_true',
        help='take classes and file names from the data set, and set num_classes everywhere',
    )
    parser.add_argument(
        '--classes',
        metavar='FILE',
        help="the same, with the names of the label maps' classes from FILE: one per line, and "
        'perhaps its colour (NAME R G B)',
    )


def add_test_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of testing that change its config."""
    parser.add_argument(
        '--out',
        help="where to save the predictions: a .json file (detection: COCO's results), a .pkl file "
        '(detection, with masks as run lengths; classification) or a folder for label maps '
        '(segmentation; PNG)',
    )
    parser.add_argument('--show-dir', help='folder to save pictures of the predictions in')
    parser.add_argument('--tta', action='store_true', help="the config's test-time augmentation")
    parser.add_argument(
        '--fuse', action='store_true', help="fold the backbone's norms and scales (faster)"
    )
