"""Counts the multiply-adds and parameters of a config's model, part by part."""

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence

from ..config.load_config import load_config
from ..utils.arguments import add_cfg_options, add_config, tool_parser
from .flops import build, count
from .table import counts_as_dict, format_table, notes_on_counts

SHAPES = {'mmseg': ((800, 1280), (512, 2048)), 'mmpretrain': ((224, 224),)}


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_config(parser)
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        action='append',
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the image; may be given more than once (800 1280; segmentation also '
        '512 2048; classification 224 224)',
    )
    parser.add_argument(
        '--attention-apart',
        action='store_true',
        help='print each figure without the products of attention as well, which the counters of '
        'some papers leave out',
    )
    parser.add_argument('--json', action='store_true', help='print json instead of a table')
    add_cfg_options(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    """Count and print what the command line asks for.

    Raises:
        UserError: no such config, or a model that cannot be built or counted.
    """
    args = parse_args(argv)
    config = load_config(args.config, args.cfg_options)
    shapes = args.shape or SHAPES.get(config.get('default_scope'), ((800, 1280),))
    with contextlib.redirect_stdout(sys.stderr):  # where mmengine's logger would spoil the json
        model = build(config)
        counts = [count(model, shape) for shape in shapes]
    if args.json:
        print(json.dumps({'config': args.config, **counts_as_dict(counts)}, indent=2))
    else:
        print(format_table(counts, args.attention_apart), '', *notes_on_counts(counts), sep='\n')
