"""Prints the config of a run, after every change that a command makes: ``glmix config``."""

import copy
from collections.abc import Sequence

from ..config.load_config import load_config
from ..config.plan import (
    difference,
    finish_test,
    finish_training,
    prepare,
    test_options,
    train_options,
)
from ..data.classes_from_data import read_classes
from ..utils.arguments import add_test_options, add_train_options, make_parser, parse
from .test import category_numbers_of


def main(argv: Sequence[str]) -> None:
    """Print what the command line asks for.

    Raises:
        UserError: a mistake in the arguments or the config.
    """
    parser = make_parser('Print the config that train, or test, would run with these options.')
    parser.add_argument('--test', metavar='CHECKPOINT', help='what `glmix test` would run')
    parser.add_argument(
        '--diff', action='store_true', help='only what differs from the config as its file has it'
    )
    add_train_options(parser.add_argument_group('options of train'))
    add_test_options(parser.add_argument_group('options of test'))
    args = parse(parser, argv)
    cfg = load_config(args.config, args.cfg_options)
    plain = copy.deepcopy(cfg)
    if args.test:
        options = test_options(args, category_numbers_of)
        prepare(cfg, options)
        finish_test(cfg, options, args.test)
    else:
        prepare(cfg, train_options(args, read_classes))
        finish_training(cfg, args.gpus)
    print(difference(plain, cfg) if args.diff else cfg.pretty_text.rstrip())
