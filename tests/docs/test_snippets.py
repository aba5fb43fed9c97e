"""Every Python snippet of the pages runs, and gives what its page says."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import VISBACKENDS
from pages import FOLLOWED, INLINE, PAGES, Snippet, snippets
from PIL import Image
from torch import nn

from glmix_mm.config.load_config import load_config
from glmix_mm.models import GLNet
from glmix_mm.models.build import build_model

SNIPPETS = [snippet for snippet in snippets() if snippet.page not in FOLLOWED]
OWN = "_base_ = 'glmix_mm::maskrcnn_glnet_4g_3x.py'\n"  # what a snippet without a base goes into
DRAWN = [('slots.md', 0), ('slots.md', 1)]  # blocks 5 and 10
STRIDES = (4, 8, 16, 32)


@pytest.mark.parametrize(
    'snippet',
    [pytest.param(s, marks=() if s.page == 'README.md' else pytest.mark.slow) for s in SNIPPETS],
    ids=lambda s: f'{s.page} {s.place}',
)
def test_snippet(snippet: Snippet, request, capsys):
    place = snippet.page, snippet.place
    shell = request.getfixturevalue('deep_shell' if place in DRAWN else 'shell')
    capsys.readouterr()
    CHECKS[place](snippet.code, shell)


def execute(code: str, **names) -> dict:
    """Run a snippet with what it takes to be there; return its names."""
    exec(compile(code, 'snippet', 'exec'), names)
    return names


def own_config(code: str) -> Config:
    """Load a snippet as a config of one's own."""
    Path('own.py').write_text(code if '_base_' in code else OWN + code)
    return load_config('own.py')


def train_own(code: str, shell) -> Config:
    """Train with a snippet as config; return it."""
    cfg = own_config(code)
    outcome = shell.run('python tools/train.py own.py')
    assert outcome.status == 0, outcome.err
    assert len(list(Path('work_dirs/own').glob('epoch_2.pth'))) == 1
    return cfg


def check_load(code, shell):
    result = execute(code)['result']
    assert type(result).__name__ == 'DetDataSample' and len(result.pred_instances)


def check_backbone(code, shell):
    maps = execute(code, images=torch.rand(1, 3, 64, 96))['maps']
    assert [tuple(m.shape[2:]) for m in maps] == [(64 // s, 96 // s) for s in STRIDES]


def check_printed_maps(code, shell):
    execute(code)
    shapes = ast.literal_eval(shell.capture.readouterr().out)
    assert [shape[2:] for shape in shapes] == [(224 // s, 224 // s) for s in STRIDES]


def check_inferencer(code, shell):
    execute(code)
    assert Image.open('out/vis/photo.jpg').size == (80, 60)


def check_ablation(code, shell):
    model = build_model(own_config(code))
    convolutions = [m for m in model.backbone.modules() if isinstance(m, nn.Conv2d)]
    assert any(m.kernel_size == (9, 9) for m in convolutions)


def check_inherited(code, shell):
    cfg = own_config(code)
    assert build_model(cfg).backbone and cfg.optim_wrapper.optimizer.lr == 2e-4
    assert cfg.optim_wrapper.optimizer.type == 'AdamW'


def check_grid_config(code, shell):
    assert build_model(own_config(code)).backbone.slot_grid == dict(slots=64)


def check_grid(code, shell):
    model = build_model(load_config('maskrcnn_glnet_4g_3x'))
    keys = set(model.state_dict())
    execute(code, model=model)
    assert model.backbone.slot_grid == (12, 16) and set(model.state_dict()) == keys
    assert len(model.backbone.eval()(torch.rand(1, 3, 64, 96))) == 4


def check_slots(code, shell):
    model = SimpleNamespace(backbone=GLNet('4g').eval())
    image = np.zeros((64, 96, 3), np.uint8)
    names = execute(code, model=model, images=torch.rand(1, 3, 64, 96), image=image)
    shares, panel = names['shares'], names['panel']
    assert torch.allclose(shares.sum(1), torch.ones(1, 8, 12))
    assert panel.dtype == np.uint8 and panel.shape[2] == 3


def check_hook(code, shell):
    train_own(code, shell)
    names = [path.name for path in Path('work_dirs/own').rglob('vis_image/slots_*_2.png')]
    blocks = [int(re.search(r'_block(\d+)_', name)[1]) for name in names]
    assert sorted(blocks) == [1, 1, 5, 5, 10, 10]


def check_visualizer(code, shell):
    backends = [backend.type for backend in own_config(code).visualizer.vis_backends]
    assert len(backends) == 2 and all(map(VISBACKENDS.get, backends))


def check_prediction_hook(code, shell):
    train_own(code, shell)
    names = [path.name for path in Path('work_dirs/own').rglob('vis_image/predictions_*_2.png')]
    assert len(names) == 2  # there are two images
    assert [*Path('work_dirs/own').rglob('events.out.tfevents.*')]


def check_fine_tuning(code, shell):
    cfg = train_own(code, shell)
    assert cfg.optim_wrapper.constructor == 'LayerDecayConstructor'
    base = load_config('maskrcnn_glnet_4g_1x')
    assert cfg.optim_wrapper.optimizer == base.optim_wrapper.optimizer
    assert [hook.type for hook in cfg.custom_hooks] == ['EMAHook']
    assert cfg.model.backbone.frozen_stages == 2


def test_timm_knows_the_backbone(small):
    timm = pytest.importorskip('timm')
    spans = [span for page in PAGES for span in INLINE.findall(page.read_text())]
    (call,) = (span for span in spans if span.startswith('timm.create_model('))
    maps = eval(call, dict(timm=timm)).eval()(torch.rand(1, 3, 64, 96))
    assert [tuple(m.shape[2:]) for m in maps] == [(64 // s, 96 // s) for s in STRIDES]


CHECKS = {
    ('README.md', 0): check_load,
    ('README.md', 1): check_backbone,
    ('ablations.md', 0): check_ablation,
    ('app.md', 0): check_prediction_hook,
    ('configs.md', 0): check_inherited,
    ('quick_start.md', 0): check_inferencer,
    ('quick_start.md', 1): check_printed_maps,
    ('slot_grids.md', 0): check_grid_config,
    ('slot_grids.md', 1): check_grid,
    ('slots.md', 0): check_slots,
    ('slots.md', 1): check_hook,
    ('slots.md', 2): check_visualizer,
    ('train.md', 0): check_fine_tuning,
    ('train.md', 1): check_load,
    ('train.md', 2): check_inferencer,
}
