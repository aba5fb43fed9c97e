"""Looks through a data set before training: what ``glmix check-data`` calls."""

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mmengine.config import Config

from ..config.load_config import load_config
from ..config.plan import Options, prepare
from ..errors import UserError
from ..utils.commands import spelled
from ..utils.nested import SPLITS
from ..utils.parsers import check_data_parser
from ..utils.registry_errors import config_mistakes
from .classes_from_data import read_classes, suiting_config
from .coco_checks import CocoFiles
from .dataset_checks import Known, check_datasets


def main(argv: Sequence[str]) -> None:
    """Check what the command line names, and print what was found.

    Raises:
        UserError: there is something to fix; all of it is printed before.
    """
    args = check_data_parser().parse_args(argv)
    folder = Path(args.data).expanduser()
    name = suiting_config(folder) if folder.is_dir() else args.data
    cfg = load_config(name, args.cfg_options)
    root = str(folder) if folder.is_dir() else args.data_root
    own = folder.is_dir() or args.classes_from_data or args.classes
    read = partial(read_classes, class_file=args.classes)
    options = Options(data_root=root, read_classes=read if own else None)
    for note in prepare(cfg, options):
        print(note, flush=True)
    with config_mistakes(cfg.filename):
        check(cfg)
    if folder.is_dir():
        root = shlex.quote(str(folder))
        classes = (
            f'--classes {shlex.quote(args.classes)}' if args.classes else '--classes-from-data'
        )
        print(f'Train on it: {spelled("train")} {name} --data-root {root} {classes}')


def check(cfg: Config) -> None:
    """Check every split, print what is worth knowing, then what has to be fixed.

    Raises:
        UserError: there is something to fix.
    """
    if not any(cfg.get(f'{split}_dataloader') for split in SPLITS):
        raise UserError(
            f'{cfg.filename}: has no train_dataloader, val_dataloader or test_dataloader, so no '
            'data to check; give a config of training, or the folder of a data set'
        )
    known, problems, seen = Known(CocoFiles(), {}, {}), [], []
    for split in SPLITS:
        settings = cfg.get(f'{split}_dataloader')
        if not settings or settings.dataset in seen:  # tests often read what validation reads
            continue
        seen.append(settings.dataset)
        try:
            check_datasets(cfg, [split], lambda note: print(note, flush=True), known)
        except UserError as error:
            problems += getattr(error, 'problems', [str(error)])
    if problems:
        for problem in problems:
            print(f'to fix: {problem}', flush=True)
        raise UserError(f'{len(problems)} to fix in the data of {cfg.filename}')
