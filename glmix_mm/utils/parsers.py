"""The parser of each command that runs on torch, without torch: ``--help`` answers at once.

``glmix COMMAND --help`` calls ``COMMAND_parser()``, and so does the command's module.
"""

from argparse import ArgumentParser
from pathlib import Path

from .arguments import (
    add_cfg_options,
    add_classes,
    add_config,
    add_device,
    add_test_options,
    add_train_options,
    make_parser,
    tool_parser,
)

DTYPES = ('float32', 'bfloat16', 'float16')
GRIDS = ('8x8', '4x4', '16x16', '64', '28px')
MODELS = ('glnet_4g', 'swin_t', 'convnext_t', 'pvtv2_b2', 'resnet50')
SCALING = (512, 704, 1024, 1440, 2048)  # sides of square images, px
SIZE = ('HEIGHT', 'WIDTH')
TASKS = ('maskrcnn', 'semfpn')


def train_parser() -> ArgumentParser:
    """Return the parser of ``glmix train``."""
    parser = make_parser('Train a detector, a segmentor or a classifier.')
    add_train_options(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from a checkpoint, by default from the newest in the work folder; with none '
        'there, begin: so a command that is started again by itself can always have it',
    )
    parser.add_argument(
        '--mem',
        type=float,
        metavar='GIB',
        help="a GPU's memory: choose batch, accumulation, learning rate and length to fit it, "
        'and --gpus of them',
    )
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='check everything, measure memory and time of a step at the largest shape, stop',
    )
    return parser


def test_parser() -> ArgumentParser:
    """Return the parser of ``glmix test``."""
    parser = make_parser('Score a checkpoint of a detector, a segmentor or a classifier.')
    _add_checkpoint(parser)
    add_test_options(parser)
    return parser


def predict_parser() -> ArgumentParser:
    """Return the parser of ``glmix predict``."""
    parser = tool_parser(
        'Draw what a detector, a segmentor or a classifier predicts; write it as json.'
    )
    add_config(parser)
    _add_checkpoint(parser)
    parser.add_argument(
        'images', nargs='+', metavar='IMAGE', help='an image, a folder of images, or a video'
    )
    parser.add_argument(
        '--out', type=Path, default='predictions', help='folder for the results (predictions)'
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        metavar='SCORE',
        help='least score of a detection (0.3)',
    )
    add_device(parser)
    return parser


def config_parser() -> ArgumentParser:
    """Return the parser of ``glmix config``."""
    parser = make_parser('Print the config that train, or test, would run with these options.')
    parser.add_argument('--test', metavar='CHECKPOINT', help='what `glmix test` would run')
    parser.add_argument(
        '--diff', action='store_true', help='print only what differs from the config file'
    )
    add_train_options(parser.add_argument_group('options of train'))
    add_test_options(parser.add_argument_group('options of test'))
    return parser


def check_data_parser() -> ArgumentParser:
    """Return the parser of ``glmix check-data``."""
    parser = tool_parser("Check a data set: a config's, or one of your own in a folder.")
    parser.add_argument(
        'data', metavar='CONFIG|FOLDER', help='a config, or a folder with a data set of your own'
    )
    parser.add_argument('--data-root', help="folder of the config's data set")
    add_classes(parser)
    add_cfg_options(parser)
    return parser


def convert_parser() -> ArgumentParser:
    """Return the parser of ``glmix convert``."""
    parser = tool_parser("Turn Pascal VOC, YOLO or labelme into COCO's json.")
    parser.add_argument('folder', metavar='DIR', help='the folder of the data set')
    parser.add_argument('out', metavar='OUT', help='a new folder for json and links to the images')
    return parser


def app_parser() -> ArgumentParser:
    """Return the parser of ``glmix app``."""
    parser = tool_parser('Look at predictions and slots of your own pictures in the browser.')
    add_config(parser)
    _add_checkpoint(parser)
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='the address to listen at (127.0.0.1, this machine alone; 0.0.0.0 lets others in)',
    )
    parser.add_argument('--port', type=int, default=7860, help='the port (7860)')
    parser.add_argument(
        '--examples',
        nargs='+',
        default=(),
        metavar='IMAGE',
        help='pictures to choose from: files and folders (some of the test set)',
    )
    add_device(parser)
    return parser


def plot_log_parser() -> ArgumentParser:
    """Return the parser of ``glmix plot-log``."""
    parser = tool_parser('Draw the curves of runs: loss, learning rate and scores.')
    parser.add_argument(
        'work_dirs', nargs='+', metavar='WORK_DIR', help='work folder of a training run'
    )
    parser.add_argument(
        '--out', type=Path, default='curves.png', metavar='FILE', help='the picture (curves.png)'
    )
    return parser


def demo_parser() -> ArgumentParser:
    """Return the parser of ``glmix demo``."""
    parser = tool_parser('Train and test on the embedded demo set.')
    parser.add_argument(
        '--task', choices=TASKS, default='maskrcnn', help='what to train (maskrcnn)'
    )
    parser.add_argument(
        '--work-dir', default='demo_out', help='folder for everything written (demo_out)'
    )
    parser.add_argument(
        '--data-root', help='folder of the demo set, made if it is not there (WORK_DIR/data)'
    )
    return parser


def publish_parser() -> ArgumentParser:
    """Return the parser of ``glmix publish``."""
    parser = tool_parser(
        'Strip a training checkpoint to a backbone that init_cfg of any config takes.'
    )
    parser.add_argument('checkpoint', help='a checkpoint that glmix train saved')
    parser.add_argument(
        'out', help='file to write, ending in .pth; the first digits of its SHA-256 are added'
    )
    return parser


def export_parser() -> ArgumentParser:
    """Return the parser of ``glmix export``."""
    parser = tool_parser('Export a backbone, a segmentor, a classifier, RetinaNet or Mask R-CNN.')
    add_config(parser)
    _add_checkpoint(parser)
    parser.add_argument('out', type=Path, help='the file to write: .onnx, or .pt2 (torch.export)')
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument(
        '--dynamic', action='store_true', help='for any number of images of any size'
    )
    shape.add_argument(
        '--size',
        type=int,
        nargs=2,
        metavar=SIZE,
        help="for images of this size in px (the config's test or training size)",
    )
    parser.add_argument(
        '--backbone', action='store_true', help="only the backbone, from any detector's config too"
    )
    parser.add_argument(
        '--latency', action='store_true', help='time the graph in ONNX Runtime and in torch'
    )
    return parser


def flops_parser() -> ArgumentParser:
    """Return the parser of ``glmix flops``."""
    parser = tool_parser("Count the multiply-adds and parameters of a config's model, by part.")
    add_config(parser)
    _add_shapes(parser, '800 1280; segmentation also 512 2048; classification 224 224')
    parser.add_argument(
        '--attention-apart',
        action='store_true',
        help="also print each figure without attention's products, which some papers leave out",
    )
    parser.add_argument('--json', action='store_true', help='print json instead of a table')
    add_cfg_options(parser)
    return parser


def benchmark_parser() -> ArgumentParser:
    """Return the parser of ``glmix benchmark``."""
    parser = tool_parser('Measure speed and peak memory of backbones and whole models.')
    parser.add_argument(
        'models',
        nargs='*',
        default=MODELS,
        metavar='MODEL',
        help='a variant (glnet_9g, dilateformer_tiny, fcvit_b12), a short name (swin_t, '
        'convnext_t, pvtv2_b2, resnet50), a type ("mmdet.ResNet(depth=101)"), or a config (a '
        'file, mmdet::PATH, mmseg::PATH, mmpretrain::PATH, or the name of one that comes with '
        f'glmix_mm), with :backbone behind it for its backbone alone ({" ".join(MODELS)})',
    )
    sizes = parser.add_mutually_exclusive_group()
    _add_shapes(sizes, '800 1280')
    sizes.add_argument(
        '--scaling',
        action='store_true',
        help=f'square images from 0.25 to 4 megapixels: sides of {", ".join(map(str, SCALING))}',
    )
    parser.add_argument(
        '--batch-size', nargs='+', type=int, default=[1], metavar='N', help='images per batch (1)'
    )
    parser.add_argument(
        '--dtype', choices=DTYPES, default='float32', help='what autocast computes in (float32)'
    )
    add_device(parser)
    parser.add_argument(
        '--mode',
        choices=('eval', 'train'),
        default='eval',
        help='inference without post-processing; or forward and backward pass, of whole models '
        'with losses on generated objects (eval)',
    )
    parser.add_argument(
        '--execution',
        choices=('eager', 'compile', 'fused'),
        default='eager',
        help='how backbones run: as they are, by torch.compile, or after fuse() (eager)',
    )
    _add_rounds(parser, 5)
    parser.add_argument('--threads', type=int, help="threads of the CPU (torch's own choice)")
    parser.add_argument('--csv', type=Path, metavar='FILE', help='write the figures there')
    parser.add_argument('--png', type=Path, metavar='FILE', help='draw time and memory there')
    parser.add_argument('--out', type=Path, metavar='FILE', help='write the printed text there')
    return parser


def ablate_parser() -> ArgumentParser:
    """Return the parser of ``glmix ablate``."""
    parser = tool_parser(
        "Compare the ablations of GLNet's paper: what each costs, and its published accuracy."
    )
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        default=(224, 224),
        metavar=SIZE,
        help='size of the images (224 224)',
    )
    parser.add_argument(
        '--batch-size', type=int, default=1, metavar='N', help='images per batch (1)'
    )
    add_device(parser)
    _add_rounds(parser, 5)
    return parser


def slots_parser() -> ArgumentParser:
    """Return the parser of ``glmix slots``."""
    parser = tool_parser("Draw what the slots of a GLNet's blocks hold, a panel for each block.")
    _add_glnet(parser)
    parser.add_argument(
        '--blocks',
        nargs='+',
        type=int,
        metavar='N',
        help='which GLMix blocks, counted over all stages from 0 (the last of each stage)',
    )
    parser.add_argument('--out', type=Path, default='slots', help='folder for the panels (slots)')
    return parser


def slot_grids_parser() -> ArgumentParser:
    """Return the parser of ``glmix slot-grids``."""
    parser = tool_parser(
        'Compare slot grids on a trained GLNet with the first of them: what each costs, and how '
        'its assignments differ.'
    )
    _add_glnet(parser)
    parser.add_argument(
        '--grids',
        nargs='+',
        default=GRIDS,
        metavar='GRID',
        help='ROWSxCOLUMNS; or a number of slots, whose grid has the aspect ratio of the image; or '
        f'PIXELSpx, about one slot per PIXELS x PIXELS ({" ".join(GRIDS)})',
    )
    parser.add_argument(
        '--block',
        type=int,
        metavar='N',
        help='which GLMix block to look at, counted over all stages from 0 (the last one)',
    )
    _add_rounds(parser, 3)
    parser.add_argument(
        '--out', type=Path, default='slot_grids', help='folder for the pictures (slot_grids)'
    )
    return parser


def _add_checkpoint(parser: ArgumentParser) -> None:
    parser.add_argument('checkpoint', help='a checkpoint that was trained with this config')


def _add_shapes(parser: ArgumentParser, default: str) -> None:
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        action='append',
        metavar=SIZE,
        help=f'size of the images; may be given more than once ({default})',
    )


def _add_rounds(parser: ArgumentParser, rounds: int) -> None:
    parser.add_argument(
        '--rounds', type=int, default=rounds, help=f'how often each is timed ({rounds})'
    )


def _add_glnet(parser: ArgumentParser) -> None:
    """Add the images, and what names the GLNet to look at them."""
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='a file, or a folder of images')
    models = parser.add_mutually_exclusive_group()
    models.add_argument('--config', help='a config whose backbone is a GLNet: a file, or its name')
    models.add_argument('--arch', default='4g', help='a variant of GLNet (4g)')
    parser.add_argument(
        '--checkpoint',
        metavar='FILE',
        help="weights of the model or of its backbone (the authors' ImageNet weights)",
    )
