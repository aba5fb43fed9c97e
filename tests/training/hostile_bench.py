"""What the cases of hostile and broken files share: sound files to break, and the ways in."""

import copy
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch

from glmix_mm.checkpoints.safe_reading import read_checkpoint
from glmix_mm.config.data_root import apply_data_root
from glmix_mm.config.edits import from_scratch
from glmix_mm.config.load_config import load_config
from glmix_mm.data.dataset_checks import check_datasets
from glmix_mm.data.demo_set import write_demo_dataset
from glmix_mm.errors import UserError
from glmix_mm.inference import test as testing
from glmix_mm.inference.predict import make_inferencer
from glmix_mm.models import GLNet
from glmix_mm.models.build import build_model
from glmix_mm.training.train import choose_start
from glmix_mm.utils.messages import one_line

DETECTOR = 'demo/maskrcnn_glnet_nano'
SIZE = 64  # px


class Case(NamedTuple):
    """One hostile or broken file, and what has to come of it.

    Attributes:
        group: for the table.
        what: the file.
        way: the way in.
        outcome: 'refused', or how it is handled.
        run: makes the file and sends it in; raises UserError if it is refused.
        words: which the refusal's message must have, the file's name among them; where it is
            handled, ``run`` itself checks what comes out.
    """

    group: str
    what: str
    way: str
    outcome: str
    run: Callable[['Bench'], object]
    words: tuple[str, ...] = ()


REFUSED = 'refused'


def refused(group: str, name: str, rows: Iterable[tuple]) -> Iterator[Case]:
    """Yield the cases of a table's rows: what the file is, the ways in, words, what makes it.

    The words, or the one, stand in the message besides the file's name. What makes the file takes
    the bench and a path of that name, and may return another path.
    """
    for what, ways, words, make in rows:
        words = (name, words) if isinstance(words, str) else (name, *words)
        for way in ways.split(', '):
            yield Case(group, what, way, REFUSED, sent(name, way, make), words)


def handled(group: str, name: str, rows: Iterable[tuple]) -> Iterator[Case]:
    """Yield the cases of rows that have, in the place of words, how the file is handled."""
    for what, ways, how, make in rows:
        for way in ways.split(', '):
            yield Case(group, what, way, how, sent(name, way, make))


def sent(name: str, way: str, make: Callable) -> Callable[['Bench'], object]:
    """Return a run that makes a file and sends it in; nothing that it holds may be run."""

    def run(bench):
        path = bench.path(name)
        try:
            return getattr(bench, way)(make(bench, path) or path)
        finally:
            assert not bench.trace(path).exists(), 'a call in the file was run'

    return run


def outcome_of(case: Case, bench: 'Bench') -> tuple[str, str]:
    """Run a case; return its outcome and the message, or 'WRONG' and why."""
    try:
        case.run(bench)
    except UserError as error:
        message = one_line(error)  # as the command lines print it
        missing = [word for word in case.words if word not in message]
        if case.outcome != REFUSED or missing or not message.isprintable():
            return 'WRONG', f'{message} (expected {case.outcome}, {missing})'
        return REFUSED, message
    except Exception as error:
        return 'WRONG', f'{type(error).__name__}: {error}'
    if case.outcome == REFUSED:
        return 'WRONG', 'taken without a word'
    return case.outcome, ''


class Bench:
    """Sound files to break, and the ways in.

    Args:
        folder: for the files; it should be empty.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.number = 0
        self.configs = {}

    def path(self, name: str) -> Path:
        """Return a new path of this name, in a folder of its own."""
        self.number += 1
        folder = self.folder / str(self.number)
        folder.mkdir()
        return folder / name

    def trace(self, path: Path) -> Path:
        """Return the file that calls in a hostile file would make."""
        return path.with_name('trace')

    @cached_property
    def demo(self) -> Path:
        """The folder of a small demo set."""
        return write_demo_dataset(self.folder / 'demo', 4, 2, SIZE)

    @cached_property
    def model(self):
        """The demo's detector."""
        torch.manual_seed(0)
        return build_model(self.load(DETECTOR))

    @cached_property
    def content(self) -> dict:
        """What a checkpoint of the demo's detector holds that training could go on from."""
        cfg = self.load(DETECTOR)
        optimizer = torch.optim.AdamW(self.model.parameters())
        meta = dict(
            cfg=cfg.pretty_text, epoch=0, iter=2, dataset_meta=dict(classes=tuple(cfg.classes))
        )
        return dict(
            state_dict=self.model.state_dict(),
            optimizer=optimizer.state_dict(),
            message_hub=dict(log_scalars={}, runtime_info={}, resumed_keys={}),
            meta=meta,
        )

    @cached_property
    def sound(self) -> bytes:
        """A sound checkpoint's bytes."""
        path = self.path('sound.pth')
        torch.save(self.content, path)
        return path.read_bytes()

    @cached_property
    def backbone(self) -> GLNet:
        """A backbone for pretrained weights."""
        return GLNet('nano')

    # Ways in for checkpoints.

    def read(self, path: Path) -> object:
        """Read it, as everything does first."""
        return read_checkpoint(path)

    def pretrained(self, path: Path) -> None:
        """Start a backbone from it (init_cfg)."""
        self.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(path))
        self.backbone.init_weights()

    def resume(self, path: Path) -> None:
        """Go on from it (train --resume)."""
        choose_start(self.config(), str(path), self.model)

    def load_from(self, path: Path) -> None:
        """Start from its weights (load_from of the config)."""
        cfg = self.config()
        cfg.load_from = str(path)
        choose_start(cfg, None, self.model)

    def test(self, path: Path) -> None:
        """Score it (tools/test.py), up to its loading."""
        testing._check_checkpoint(self.config(), str(path))

    def predict(self, path: Path) -> None:
        """Predict with it (tools/predict.py), up to its loading."""
        make_inferencer(self.config(), str(path))

    def config(self, name: str = DETECTOR):
        """Return a demo config for the small demo set."""
        cfg = self.load(name)
        cfg.launcher, cfg.work_dir = 'none', str(self.path('wd'))
        from_scratch(cfg)
        apply_data_root(cfg, str(self.demo))
        return cfg

    def load(self, name: str):
        """Load a config; reading one takes half a second, so each is read once."""
        if name not in self.configs:
            self.configs[name] = load_config(name)
        return copy.deepcopy(self.configs[name])

    # Ways in for data sets.

    def copy_of_demo(self) -> Path:
        """Return a copy of the demo set, to break."""
        return Path(shutil.copytree(self.demo, self.path('set')))

    def check(self, root: Path, name: str = DETECTOR):
        """Check the data sets of a demo config, as train does before it starts."""
        cfg = self.load(name)
        apply_data_root(cfg, str(root))
        check_datasets(cfg, ['train', 'val'])
        return cfg
