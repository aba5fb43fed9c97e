"""Resident memory over 300 steps: python tests/models/leaks_proof.py [PART].

Training and inference of a small backbone of each family on images of changing sizes; training of
the demo's Mask R-CNN as tools/train.py does it, and predictions as tools/predict.py makes them.

On CPUs PyTorch keeps the kernels that oneDNN made for the last 1024 shapes, whatever runs: some 70
MiB once that many were seen. They are no leak, but would hide one as large: fewer are kept here, as
by tools/train.py.
"""

import contextlib
import io
import logging
import random
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
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

from glmix_mm.config.data_root import apply_data_root
from glmix_mm.config.edits import bound_kernel_caches, from_scratch
from glmix_mm.config.load_config import load_config
from glmix_mm.data.demo_set import write_demo_dataset
from glmix_mm.inference.predict import make_inferencer, predict
from glmix_mm.training.train import train

STEPS, SETTLED = 300, 50
SCALES = [(side, side) for side in range(96, 225, 16)]


@HOOKS.register_module()
class MemoryHook(Hook):
    """Notes the memory after each step."""

    sizes: ClassVar[list[int]] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Note it."""
        self.sizes.append(leaks.resident())


def report(what: str, sizes: list[int]) -> bool:
    """Print the memory every 50 steps; return whether it grew by less than the limit.

    The limit is for the most that was seen after any of the later steps as well.
    """
    every = sizes[SETTLED - 1 :: SETTLED]
    shown = ', '.join(f'{value / 2**20:.0f}' for value in every)
    growth, most = every[-1] / every[0] - 1, max(sizes[SETTLED:]) / max(sizes[:SETTLED]) - 1
    print(f'{what}, MiB after step 50, 100, ... {STEPS}:')
    print(f'  {shown}; growth {growth:+.1%}; of the most so far {most:+.1%}', flush=True)
    return max(growth, most) < leaks.LIMIT


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


def measured(step: Callable[[int], None]) -> list[int]:
    """Run the steps; return the memory after each."""
    sizes = []
    for number in range(STEPS):
        step(number)
        sizes.append(leaks.resident())
    return sizes


def predictions(root: Path, folder: Path, checkpoint: str) -> list[int]:
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


def prove_detector() -> bool:
    """Train the demo's detector and predict with it; return whether memory did not grow."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = write_demo_dataset(folder / 'set', 32, 8, 192)
        torch.manual_seed(0)
        checkpoint = train_detector(root, folder)
        trained = report('Mask R-CNN training', MemoryHook.sizes)
        return report('predictions', predictions(root, folder, checkpoint)) and trained


def prove_backbone(name: str, kind: str, training: bool) -> bool:
    """Run a small backbone; return whether memory did not grow."""
    step = leaks.backbone_steps(name, kind, training)
    return report(f'{name} {"training" if training else "inference"}', measured(step))


PARTS = {'detector': prove_detector} | {
    f'{name}-{"training" if training else "inference"}': partial(
        prove_backbone, name, kind, training
    )
    for name, kind in FIRST
    for training in (True, False)
}


def prove(part: str) -> bool:
    """Run a part; return whether memory did not grow."""
    bound_kernel_caches()
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    return PARTS[part]()


def prove_all() -> bool:
    """Run every part in a process of its own, as memory that one has freed would hide another's."""
    codes = [subprocess.run([sys.executable, __file__, part]).returncode for part in PARTS]
    return not any(codes)


if __name__ == '__main__':
    sys.exit(0 if (prove(sys.argv[1]) if sys.argv[1:] else prove_all()) else 1)
