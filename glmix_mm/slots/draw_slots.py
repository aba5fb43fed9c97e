"""Draws what the slots of a GLNet's blocks hold: a panel for each image and block."""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from ..config.load_config import load_config
from ..errors import UserError
from ..models import GLNet
from ..models.backbone import MIN_SIZE
from ..utils.nested import nested_dicts
from ..utils.parsers import slots_parser
from ..utils.pictures import find_images, for_each, read_image, save_png
from ..utils.registry_errors import config_mistakes
from .assignments import blocks_of_stages, check_blocks, slot_assignments
from .slot_panel import draw_slots, panel_title

SCALE = (1333, 800)  # pixels of the longer and the shorter side, as when detectors are tested
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # ImageNet's, of RGB


def main(argv: Sequence[str]) -> None:
    """Draw the panels that the command line asks for.

    Raises:
        UserError: a mistake in the command line, which is found before anything is drawn; or, once
            all other panels are written, that some of the images could not be used.
    """
    args = slots_parser().parse_args(argv)
    paths = find_images(args.images)
    config = load_config(args.config) if args.config else {}
    with contextlib.redirect_stdout(sys.stderr):  # stdout lists the panels alone
        backbone = load_backbone(config, args.arch, args.checkpoint)
    blocks = args.blocks or [numbers[-1] for numbers in blocks_of_stages(backbone).values()]
    check_blocks(backbone, blocks)

    def draw(path: Path, name: str) -> None:
        image = read_image(path)
        found = slot_assignments(backbone, prepare_image(image, config), blocks)
        for block, assignment in found.items():
            shares = assignment[0].numpy()
            target = args.out / f'{name}_block{block}.png'
            save_png(target, draw_slots(image, shares, panel_title(path.name, block, shares)))
            print(target, flush=True)

    for_each(paths, draw)


def load_backbone(config: Mapping, arch: str, checkpoint: str | None = None) -> nn.Module:
    """Build a backbone alone and load its weights, strictly.

    Args:
        config: its ``model.backbone`` is built; if it is empty, the GLNet of ``arch``.
        arch: a variant of GLNet.
        checkpoint: weights of the backbone or of a whole model; by default those that the config
            starts from, or the authors' of ``arch``.

    Raises:
        UserError: a mistake in the config, no GLNet in it, no weights, or weights that do not fit.
    """
    if not config:
        weights = checkpoint or f'glmix://glnet_{arch}'
        backbone = GLNet(arch, init_cfg=dict(type='Pretrained', checkpoint=weights))
    else:
        init_default_scope(config.get('default_scope', 'mmengine'))
        settings = dict(config.get('model', {}).get('backbone') or {})
        if not settings:
            raise UserError(
                f'{config.filename} has no model.backbone; give a config whose backbone is a GLNet'
            )
        if checkpoint:
            settings['init_cfg'] = dict(type='Pretrained', checkpoint=checkpoint)
        with config_mistakes(config.filename):
            backbone = MODELS.build(settings)
        blocks_of_stages(backbone)  # raises if it has none
        if not backbone.init_cfg:
            raise UserError(f'{config.filename} names no weights; give them with --checkpoint')
    backbone.init_weights()
    return backbone.eval()


def prepare_image(image: np.ndarray, config: Mapping) -> Tensor:
    """Scale and normalise an image as the config's test pipeline does; no padding is added.

    A shorter side of less than 32 pixels is scaled to 32, which backbones need.

    Args:
        image: RGB, uint8 (H, W, 3).
        config: one of a detector or a segmentor; if it is empty, detectors' usual settings hold.

    Returns:
        (1, 3, H', W').
    """
    model = config.get('model', {})
    preprocessor = model.get('data_preprocessor') or {}
    longest, shortest = sorted(scale_of(config), reverse=True)
    height, width = image.shape[:2]
    factor = min(longest / max(height, width), shortest / min(height, width))
    size = [max(MIN_SIZE, round(factor * side)) for side in (width, height)]
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    mean, std = (
        preprocessor.get(key) or default for key, default in (('mean', MEAN), ('std', STD))
    )
    normalised = (scaled - np.float32(mean)) / np.float32(std)
    return torch.from_numpy(normalised).permute(2, 0, 1).unsqueeze(0)


def scale_of(config: Mapping) -> Sequence[int]:
    """Return the two sides within which a config's test pipeline scales images."""
    pipeline = config.get('test_dataloader', {}).get('dataset', {}).get('pipeline', [])
    scales = [step['scale'] for step in nested_dicts(pipeline) if step.get('type') == 'Resize']
    return scales[0] if scales else SCALE
