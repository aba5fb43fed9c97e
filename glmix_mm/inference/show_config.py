"""Prints the config of a run, after every change that a command makes: ``glmix config``."""

import copy
from collections.abc import Sequence

from ..config.load_config import load_config
from ..config.plan import (
    difference,
    finish_test,
    prepare,
    test_options,
    train_options,
)
from ..data.classes_from_data import read_classes
from ..utils.arguments import parse
from ..utils.parsers import config_parser
from .test import category_numbers_of


def main(argv: Sequence[str]) -> None:
    """Print what the command line asks for.

    Raises:
        UserError: a mistake in the arguments or the config.
    """
    args = parse(config_parser(), argv)
    cfg = load_config(args.config, args.cfg_options)
    plain = copy.deepcopy(cfg)
    if args.test:
        options = test_options(args, category_numbers_of)
        prepare(cfg, options)
        finish_test(cfg, options, args.test)
    else:
        prepare(cfg, train_options(args, read_classes))
    print(difference(plain, cfg) if args.diff else cfg.pretty_text.rstrip())
