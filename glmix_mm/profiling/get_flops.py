"""Counts the multiply-adds and parameters of a config's model, part by part."""

import contextlib
import json
import sys
from collections.abc import Sequence

from ..config.load_config import load_config
from ..utils.parsers import flops_parser
from .flops import build, count
from .table import counts_as_dict, format_table, notes_on_counts

SHAPES = {'mmseg': ((800, 1280), (512, 2048)), 'mmpretrain': ((224, 224),)}


def main(argv: Sequence[str]) -> None:
    """Count and print what the command line asks for.

    Raises:
        UserError: no such config, or a model that cannot be built or counted.
    """
    args = flops_parser().parse_args(argv)
    config = load_config(args.config, args.cfg_options)
    shapes = args.shape or SHAPES.get(config.get('default_scope'), ((800, 1280),))
    with contextlib.redirect_stdout(sys.stderr):  # where mmengine's logger would spoil the json
        model = build(config)
        counts = [count(model, shape) for shape in shapes]
    if args.json:
        print(json.dumps({'config': args.config, **counts_as_dict(counts)}, indent=2))
    else:
        print(format_table(counts, args.attention_apart), '', *notes_on_counts(counts), sep='\n')
