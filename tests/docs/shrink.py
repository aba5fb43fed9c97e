"""The one place where what the pages' commands do is made small enough for a test.

The commands stay as the pages have them; what they name is smaller. Every config is made small as
it is loaded, before the command line's own options are set in it: all widths are 32 channels,
images an eighth of their size, a split two images, a run two epochs or iterations. GLNet's variants
keep their names and their kinds of blocks.
"""

import importlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn

from glmix_mm import demo
from glmix_mm.doctor import facts, probe
from glmix_mm.models import glnet
from glmix_mm.profiling import ablate, benchmark, measure
from glmix_mm.profiling.flops import Count, Part
from glmix_mm.slots import compare_grids, draw_slots
from glmix_mm.utils.nested import nested_dicts

WIDTH = 32  # channels, a multiple of GLNet's channels of a head
WIDTHS = {
    'channels',
    'conv_out_channels',
    'fc_out_channels',
    'feat_channels',
    'in_channels',
    'out_channels',
}
SIZES = {'crop_size', 'scale', 'scales', 'size'}
EIGHTH, LEAST = 8, 32  # what sides are divided by, and the least side in px
STEPS, BATCH = 2, 2
CONVOLUTIONS = {'num_convs', 'stacked_convs'}  # in a row: one
SHALLOW, DEEP = (1, 1, 1, 1), (4, 4, 6, 1)  # blocks; the pages draw number 10 of those with slots
MATRIX = 64  # rows and columns


def shrink(patch: pytest.MonkeyPatch, depths: Sequence[int] = SHALLOW) -> None:
    """Make configs, GLNet's variants and what is measured small."""
    for name, arch in glnet.ARCHS.items():
        small = replace(arch, channels=(WIDTH,) * len(depths), depths=depths)
        patch.setitem(glnet.ARCHS, name, small)
    load = Config.fromfile
    patch.setattr(Config, 'fromfile', lambda *args, **kw: shrink_config(load(*args, **kw)))
    patch.setattr(demo, 'THREADS', torch.get_num_threads())
    patch.setattr(draw_slots, 'SCALE', small_sizes(draw_slots.SCALE))
    patch.setattr(measure, 'MATRIX_SIZE', MATRIX)
    patch.setattr(benchmark, 'SCALING', benchmark.SCALING[:2])
    patch.setattr(benchmark, '_threads', nullcontext)  # the tests' workers have a thread each
    for tool in (ablate, benchmark, compare_grids):
        patch.setattr(tool, 'count', count_weights)
    for tool in (ablate, benchmark):
        patch.setattr(tool, 'measure', partial(measure_small, tool.measure))
    patch.setattr(facts, 'run_probe', probe_here)
    # Without the exporter's optimiser, a third of its time; tests/deploy has it.
    patch.setattr(torch.onnx, 'export', partial(torch.onnx.export, optimize=False))
    hurry_mmengine(patch)


def hurry_mmengine(patch: pytest.MonkeyPatch) -> None:
    """Let mmengine look things up once and write configs as they are: both outlast a small run."""
    for place in ('utils.load', 'config.is_installed', 'config.get_installed_path'):
        module, name = place.split('.')
        module = importlib.import_module(f'mmengine.config.{module}')
        patch.setattr(module, name, once(getattr(module, name)))
    pretty = 'mmengine.config.config.FormatCode'  # which onedl-mmengine has not
    patch.setattr(pretty, lambda text, **_: (text, True), raising=False)


def probe_here(config: str, data_root: str | None = None) -> dict[str, dict]:
    """Probe in this process, which has imported all of it, not in one of its own."""
    out = Path('facts')
    probe.main(str(out), config, data_root)
    return facts.read_facts(out.read_text(), 'it ended')


@cache
def once(function: Callable) -> Callable:
    """Return a function that remembers what it found."""
    return cache(function)


def shrink_config(cfg: Config) -> Config:
    """Make a config small; one that is small stays as it is."""
    model = cfg.get('model') or {}
    for settings in nested_dicts(model):
        for key in WIDTHS & set(settings):
            settings[key] = small_widths(settings[key])
        settings.update(dict.fromkeys(CONVOLUTIONS & set(settings), 1))
    loaders = [cfg.get(f'{split}_dataloader') or {} for split in ('train', 'val', 'test')]
    images = [model.get('data_preprocessor') or {}, loaders, cfg.get('tta_pipeline') or []]
    for settings in nested_dicts(images):
        for key in SIZES & set(settings):
            settings[key] = small_sizes(settings[key])
    for loader in filter(None, loaders):
        loader.update(num_workers=0, persistent_workers=False)
        loader.batch_size = min(loader.batch_size, BATCH)
        loader.dataset.indices = BATCH
    if cfg.get('train_cfg'):
        shorten(cfg)
    return cfg


def shorten(cfg: Config) -> None:
    """Let a run end after two epochs or iterations, log each, and validate and save at the end."""
    length = 'max_iters' if 'max_iters' in cfg.train_cfg else 'max_epochs'
    cfg.train_cfg.update({length: STEPS, 'val_interval': STEPS})
    cfg.param_scheduler = [dict(cfg.param_scheduler[-1], begin=0)]  # without warmup
    cfg.default_hooks.checkpoint.interval = STEPS
    cfg.default_hooks.logger.interval = 1


def small_widths(value):
    """Return a width, or several, of 32 channels at most."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(small_widths, value))
    return min(value, WIDTH) if isinstance(value, int) else value


def small_sizes(value):
    """Return an eighth of a size in px, or of several; at least 32 px, and less stays."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(small_sizes, value))
    return max(value // EIGHTH, min(value, LEAST)) if isinstance(value, int) else value


def count_weights(model: nn.Module, shape: Sequence[int]) -> Count:
    """Count a multiply-add for each weight; only tools/get_flops.py really counts here."""
    weights = sum(parameter.numel() for parameter in model.parameters())
    return Count(tuple(shape), Part('', '', weights, weights, attention=0))


def measure_small(function: Callable, models, multiply_adds, shape, batch_size, setup):
    """Measure once, at an eighth of the size."""
    setup = replace(setup, rounds=1)
    return function(models, multiply_adds, small_sizes(shape), batch_size, setup)
