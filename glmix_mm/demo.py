"""The demo: makes the embedded data set, trains on it, tests, and shows pictures.

What ``glmix demo`` (``make demo``) calls.
"""

import contextlib
import io
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from PIL import Image
from torch import nn

from .config.load_config import load_config
from .config.plan import TrainOptions, prepare
from .data.dataset_checks import check_datasets
from .data.demo_set import (
    DEMO_CLASSES,
    DEMO_PALETTE,
    DEMO_SEG_CLASSES,
    DEMO_SEG_PALETTE,
    write_demo_dataset,
)
from .errors import UserError
from .inference.drawing import draw_detection, draw_segmentation, save_contact_sheet
from .slots.assignments import slot_assignments
from .slots.draw_slots import prepare_image
from .slots.slot_panel import draw_slots, panel_title
from .training.runner_setup import build_runner, disk_guard
from .utils.parsers import demo_parser
from .utils.pictures import read_image, save_png
from .utils.progress import Progress, ProgressHook, clock

THREADS = 2  # the stated times are for two cores
PICTURES = 5
SLOT_BLOCK = 1  # the second stage's: its positions are smaller than objects, its maps not noisy


@dataclass(frozen=True)
class Metric:
    """A score of the demo.

    Attributes:
        name: as printed.
        key: mmengine's name of it.
        unit: what mmengine's value is to be divided by to get a part of 1.
        target: the least value the demo promises on held-out images, or None.
    """

    name: str
    key: str
    unit: float = 1.0
    target: float | None = None


@dataclass(frozen=True)
class Task:
    """One of the demo's tasks: its title, config and scores."""

    title: str
    config: str
    metrics: tuple[Metric, ...]


TASKS = {
    'maskrcnn': Task(
        'Mask R-CNN, GLNet-nano',
        'demo/maskrcnn_glnet_nano.py',
        (
            Metric('box AP', 'coco/bbox_mAP'),
            Metric('box AP50', 'coco/bbox_mAP_50', target=0.9),
            Metric('mask AP', 'coco/segm_mAP', target=0.7),
            Metric('mask AP50', 'coco/segm_mAP_50'),
            Metric('mask AP75', 'coco/segm_mAP_75'),
        ),
    ),
    'semfpn': Task(
        'Semantic FPN, GLNet-nano',
        'demo/semfpn_glnet_nano.py',
        (
            Metric('mIoU', 'mIoU', unit=100, target=0.8),
            Metric('pixel accuracy', 'aAcc', unit=100),
        ),
    ),
}


def main(argv: Sequence[str]) -> None:
    """Run the demo as the command line says.

    Raises:
        UserError: a mistake in the arguments, or a score below its target.
    """
    args = demo_parser().parse_args(argv)
    scores = run_demo(args.task, args.work_dir, args.data_root)
    missed = [
        f'{metric.name} is {scores[metric.name]:.3f}, the target is {metric.target}'
        for metric in TASKS[args.task].metrics
        if metric.target is not None and scores[metric.name] < metric.target
    ]
    if missed:
        raise UserError(f'the demo missed its target: {"; ".join(missed)}')


def run_demo(
    task: str,
    work_dir: str | Path,
    data_root: str | Path | None = None,
    options: Mapping | None = None,
) -> dict[str, float]:
    """Write the data set (or reuse it), train, test, print the scores and save pictures.

    Args:
        task: one of ``TASKS``.
        work_dir: folder for everything written; log, checkpoint and pictures go to its folder
            named after the task.
        data_root: folder of the demo set; by default ``work_dir/data``.
        options: settings to change in the task's config.

    Returns:
        The scores on the held-out images, by their printed names, from 0 to 1.

    Raises:
        UserError: ``data_root`` holds something else, or the disk is full.
    """
    start = time.monotonic()
    what, work_dir = TASKS[task], Path(work_dir).absolute()
    out = work_dir / task
    cfg = load_config(what.config, options)
    with disk_guard(str(work_dir)):
        root = write_demo_dataset(data_root or work_dir / 'data')
        print(f'Data: {root} ({time.monotonic() - start:.0f} s)', flush=True)
        notes = prepare(cfg, TrainOptions(work_dir=str(out), data_root=str(root)))
        check_datasets(cfg, ['train', 'val'], notes.append)
        torch.set_num_threads(THREADS)
        print(f'Training: {what.title}; log in {out}', flush=True)
        runner, metrics = _train(cfg, what, notes)
        _print_table(what, metrics, len(runner.val_dataloader.dataset))
        path, image = _save_pictures(task, runner, out / 'predictions.png')
        slots = _save_slots(runner.model.backbone, cfg, image, out / 'slots.png')
    print(f'Pictures: {path}\nSlots of the first: {slots}')
    print(f'Total time: {clock(time.monotonic() - start)}', flush=True)
    return {metric.name: metrics[metric.key] / metric.unit for metric in what.metrics}


def _train(cfg: Config, task: Task, notes: list[str]) -> tuple[Runner, dict]:
    """Train with a progress display; return the runner and the metrics after the last step.

    mmengine validates after the last step, on the held-out images.
    """
    progress = Progress(sys.stdout)
    shown = task.metrics[:1] + tuple(m for m in task.metrics[1:] if m.target is not None)
    hook = ProgressHook(progress, {m.name: (m.key, m.unit) for m in shown})
    # mmengine's lines go to its log file alone. A StringIO, since its logger keeps the stream.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings('ignore', module='mm')  # of the libraries' own older ways
        runner = build_runner(cfg)
        runner.register_hook(hook, priority='LOWEST')
        for note in notes:
            runner.logger.info(note)
        runner.train()
    return runner, hook.metrics


def _print_table(task: Task, metrics: Mapping, count: int) -> None:
    print(f'\n{task.title}, on {count} held-out images')
    for metric in task.metrics:
        value = metrics[metric.key] / metric.unit
        verdict = ''
        if metric.target is not None:
            verdict = (
                f'   target {metric.target:.2f}: {"met" if value >= metric.target else "MISSED"}'
            )
        print(f'  {metric.name:<14}  {value:.3f}{verdict}')
    print(flush=True)


def _save_pictures(task: str, runner: Runner, path: Path) -> tuple[Path, Path]:
    """Draw the first few held-out images that have objects; return the path and the first image."""
    dataset = runner.val_dataloader.dataset
    rows, shown = [], []
    runner.model.eval()
    for index in range(len(dataset)):
        if len(rows) == PICTURES:
            break
        with torch.no_grad():
            sample = runner.model.test_step(pseudo_collate([dataset[index]]))[0].cpu()
        image = np.asarray(Image.open(sample.img_path).convert('RGB'))
        if task == 'semfpn':
            gt, pred = (s.data[0].numpy() for s in (sample.gt_sem_seg, sample.pred_sem_seg))
            if gt.any():
                rows.append(draw_segmentation(image, gt, pred, DEMO_SEG_PALETTE))
        elif len(sample.gt_instances):
            rows.append(
                draw_detection(
                    image,
                    sample.gt_instances,
                    sample.pred_instances,
                    DEMO_CLASSES,
                    DEMO_PALETTE,
                    ignored=sample.ignored_instances,
                )
            )
        if len(rows) > len(shown):
            shown.append(Path(sample.img_path))
    if task == 'semfpn':
        return save_contact_sheet(path, rows, DEMO_SEG_CLASSES, DEMO_SEG_PALETTE), shown[0]
    return save_contact_sheet(path, rows, DEMO_CLASSES, DEMO_PALETTE), shown[0]


def _save_slots(backbone: nn.Module, cfg: Config, image: Path, path: Path) -> Path:
    """Draw what the slots of one block hold of an image."""
    picture = read_image(image)
    images = prepare_image(picture, cfg).to(next(backbone.parameters()).device)
    assignment = slot_assignments(backbone, images, [SLOT_BLOCK])[SLOT_BLOCK][0].cpu().numpy()
    save_png(path, draw_slots(picture, assignment, panel_title(image.name, SLOT_BLOCK, assignment)))
    return path
