"""Trains small classifiers in low precision at the recipes' rates; the proof runs it at length."""

import torch
from families import build_small
from torch import nn

from glmix_mm.config.load_config import load_config
from glmix_mm.training.amp import AutoAmpOptimWrapper

RECIPES = dict(
    glnet='imagenet/glnet_4g', dilateformer='imagenet/dilateformer_tiny', fcvit='imagenet/fcvit_b12'
)
CLASSES = 10


def train(name: str, kind: str, steps: int, dtype: str, size: int, batch: int = 4) -> list[float]:
    """Train on random images and labels at the recipe's full learning rate, without its warmup.

    Gradients are clipped as the recipe does.

    Returns:
        The losses.
    """
    torch.manual_seed(0)
    cfg = load_config(RECIPES[name])
    optimizer = dict(cfg.optim_wrapper.optimizer)
    optimizer.pop('_scope_', None)
    backbone = build_small(name, kind)
    model = nn.ModuleDict(
        dict(backbone=backbone, head=nn.Linear(backbone.out_channels[-1], CLASSES))
    ).train()
    kind_of_optimizer = getattr(torch.optim, optimizer.pop('type'))
    wrapper = AutoAmpOptimWrapper(
        dtype=dtype,
        optimizer=kind_of_optimizer(model.parameters(), **optimizer),
        clip_grad=cfg.optim_wrapper.get('clip_grad'),
    )
    losses = []
    for _ in range(steps):
        images = torch.randn(batch, 3, size, size)
        labels = torch.randint(CLASSES, (batch,))
        with wrapper.optim_context(model):
            features = model.backbone(images)[-1].mean((2, 3))
            loss = nn.functional.cross_entropy(model.head(features), labels)
        wrapper.update_params(loss)
        losses.append(loss.item())
    assert all(p.isfinite().all() for p in model.parameters())
    return losses
