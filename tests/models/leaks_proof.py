"""Memory over 300 steps: python tests/models/leaks_proof.py.

Training and inference of a small backbone of each family on images of changing sizes; training of
the demo's Mask R-CNN as tools/train.py does it, and predictions as tools/predict.py makes them.
"""

import contextlib
import io
import logging
import random
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, str(Path(__file__).parents[2]))  # works without installation
sys.path.insert(0, str(Path(__file__).parents[1]))

import leaks
import torch
from families import FIRST
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from PIL import Image

from glmix_mm.datasets.demo import write_demo_dataset
from glmix_mm.engine.config import load_config
from glmix_mm.engine.options import apply_data_root, from_scratch
from glmix_mm.engine.predict import make_inferencer, predict
from glmix_mm.engine.train import train

STEPS, SETTLED = 300, 50
SCALES = [(side, side) for side in range(96, 225, 16)]


@HOOKS.register_module()
class MemoryHook(Hook):
    """Notes the memory after each step."""

    sizes: ClassVar[list[int]] = []
    used: ClassVar[list[int]] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Note it."""
        note(self.sizes, self.used)


def note(sizes: list[int], used: list[int]) -> None:
    """Note resident memory after a step, and every 50 steps that in use."""
    sizes.append(leaks.resident())
    if len(sizes) % SETTLED == 0:
        used.append(leaks.in_use())


def report(what: str, sizes: list[int], used: list[int]) -> bool:
    """Print the memory every 50 steps; return whether that in use grew by less than the limit.

    Resident memory counts the free memory that the C library keeps for reuse as well.
    """
    print(f'{what}, MiB after step 50, 100, ... {STEPS}:')
    for kind, values in (('in use', used), ('resident', sizes[SETTLED - 1 :: SETTLED])):
        shown = ', '.join(f'{value / 2**20:.0f}' for value in values)
        print(f'  {kind}: {shown}; growth {values[-1] / values[0] - 1:+.1%}', flush=True)
    return used[-1] / used[0] - 1 < leaks.LIMIT


def train_detector(root: Path, folder: Path) -> str:
    """Train the demo's detector on images of changing sizes."""
    cfg = load_config('demo/maskrcnn_glnet_nano')
    cfg.launcher, cfg.work_dir = 'none', str(folder / 'wd')
    from_scratch(cfg)
    apply_data_root(cfg, str(root))
    cfg.train_dataloader.batch_size = 2
    resize = dict(type='RandomChoiceResize', scales=SCALES, keep_ratio=True)
    cfg.train_dataloader.dataset.pipeline.insert(2, resize)
    cfg.train_cfg.update(max_iters=STEPS, val_interval=10 * STEPS)
    cfg.custom_hooks = [dict(type='MemoryHook')]
    cfg.default_hooks.checkpoint.interval = STEPS
    with contextlib.redirect_stdout(io.StringIO()):
        train(cfg)
    return str(folder / 'wd' / f'iter_{STEPS}.pth')


def measured(step: Callable[[int], None]) -> tuple[list[int], list[int]]:
    """Run the steps; return the memory as :func:`note` notes it."""
    sizes, used = [], []
    for number in range(STEPS):
        step(number)
        note(sizes, used)
    return sizes, used


def predictions(root: Path, folder: Path, checkpoint: str) -> tuple[list[int], list[int]]:
    """Predict on images of changing sizes, each drawn and written."""
    inferencer = make_inferencer(load_config('demo/maskrcnn_glnet_nano'), checkpoint)
    sources = sorted((root / 'coco' / 'val2017').iterdir())
    choose = random.Random(0)

    def step(number: int) -> None:
        path = folder / 'changing.png'
        with Image.open(sources[number % len(sources)]) as image:
            image.resize((choose.randint(48, 300), choose.randint(48, 300))).save(path)
        with contextlib.redirect_stdout(io.StringIO()):
            predict(inferencer, [path], folder / 'out')

    return measured(step)


def prove() -> bool:
    """Run everything; return whether nothing grew."""
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    good = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = write_demo_dataset(folder / 'set', 32, 8, 192)
        torch.manual_seed(0)
        checkpoint = train_detector(root, folder)
        good.append(report('Mask R-CNN training', MemoryHook.sizes, MemoryHook.used))
        good.append(report('predictions', *predictions(root, folder, checkpoint)))
    for name, kind in FIRST:
        for training in (True, False):
            step = leaks.backbone_steps(name, kind, training)
            good.append(
                report(f'{name} {"training" if training else "inference"}', *measured(step))
            )
    return all(good)


if __name__ == '__main__':
    sys.exit(0 if prove() else 1)
