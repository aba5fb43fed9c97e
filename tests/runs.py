"""Runs of the tools on tiny sets, and what they leave."""

import json
import time
from pathlib import Path

import torch
from mmengine.logging import MMLogger
from mmengine.visualization import Visualizer

from glmix_mm.cli import run
from glmix_mm.inference import test as testing
from glmix_mm.training import train as training


def forget() -> None:
    """Drop the loggers and visualizers that mmengine keeps by their names."""
    for kind in (MMLogger, Visualizer, *Visualizer.__subclasses__()):
        kind._instance_dict.clear()


def train(config, demo_root, work_dir, *options):
    """Train from scratch; return the exit status."""
    if any(work_dir.glob('2*')):
        time.sleep(1)  # runs keep their logs in folders named after the second
    arguments = [config, '--data-root', str(demo_root), '--work-dir', str(work_dir)]
    return run(training.main, [*arguments, '--from-scratch', *map(str, options)])


def read_log(work_dir):
    """Return the logged values of every training iteration of the folder's newest run."""
    newest = max(Path(work_dir).glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for line in newest.read_text().splitlines()]
    return [line for line in lines if 'loss' in line]


def test(config, checkpoint, demo_root, work_dir, *options):
    """Test a checkpoint; return the exit status."""
    arguments = [config, checkpoint, '--data-root', str(demo_root), '--work-dir', str(work_dir)]
    return run(testing.main, [*arguments, *map(str, options)])


test.__test__ = False  # the tool, not a test


def read_scores(work_dir):
    """Return the scores that the folder's only test wrote."""
    (path,) = work_dir.glob('*/*.json')
    return json.loads(path.read_text())


def save(path, **content):
    """Save a checkpoint of this content; return its path."""
    torch.save(content, path)
    return str(path)


def resumable(state_dict, epoch=1):
    """Return what a checkpoint of these weights needs, so that training can go on from it."""
    meta = dict(epoch=epoch, iter=10 * epoch)
    return dict(state_dict=state_dict, optimizer={}, message_hub={}, meta=meta)
