"""Logs in training how the slots of a few validation images develop."""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from ..errors import UserError
from ..inference.picture_hook import check_count, fixed_images, step_of, unwrapped
from .assignments import blocks_of_stages, check_blocks, slot_assignments
from .slot_panel import draw_slots, panel_title


@HOOKS.register_module()
class SlotVisualizationHook(Hook):
    """Gives a panel of slots for a few validation images to the visualizer, after each validation.

    Every backend of the visualizer gets them: files, TensorBoard, WandB. It works for detectors,
    segmentors and classifiers whose backbone is a GLNet, in runs by epoch and by iteration; of
    several processes, the first one draws. Images are as the model sees them, scaled and padded.

    Args:
        num_images: how many, evenly spread over the validation set.
        blocks: numbers of GLMix blocks, counted over all stages from 0; by default the last one of
            each stage.

    Raises:
        UserError: there is less than one image to show; and once a run starts, the backbone has no
            slots or no such block.
    """

    priority = 'HIGH'  # before EMAHook puts back the weights that were not validated

    def __init__(self, num_images: int = 4, blocks: Sequence[int] | None = None):
        check_count(self, num_images)
        self.num_images = num_images
        self.blocks = blocks

    def before_run(self, runner: Runner) -> None:
        """Find out before anything slow starts whether the model has such blocks."""
        self._chosen_blocks(unwrapped(runner.model))

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Draw the panels with the weights that were validated."""
        model = unwrapped(runner.model)
        blocks = self._chosen_blocks(model)
        for item, path, name in fixed_images(runner, self.num_images):
            images, picture = _seen_by(model, item)
            for block, shares in slot_assignments(model.backbone, images, blocks).items():
                shares = shares[0].cpu().numpy()
                panel = draw_slots(picture, shares, panel_title(path.name, block, shares))
                runner.visualizer.add_image(f'slots_{name}_block{block}', panel, step_of(runner))

    def _chosen_blocks(self, model: nn.Module) -> Sequence[int]:
        backbone = getattr(model, 'backbone', None)
        if backbone is None:
            raise UserError(
                f'SlotVisualizationHook: {type(model).__name__} has no backbone; it is for '
                'detectors, segmentors and classifiers with a GLNet'
            )
        if self.blocks is None:
            return [numbers[-1] for numbers in blocks_of_stages(backbone).values()]
        check_blocks(backbone, self.blocks)
        return self.blocks


@torch.no_grad()
def _seen_by(model: nn.Module, item: dict) -> tuple[Tensor, np.ndarray]:
    """Return a data set's item as a model gets it, (1, 3, H, W), and what that looks like."""
    preprocessor = model.data_preprocessor
    images = preprocessor(pseudo_collate([item]), False)['inputs']
    looks = images[0]
    if hasattr(preprocessor, 'mean'):
        looks = looks * preprocessor.std + preprocessor.mean
    looks = looks.clamp(0, 255).round().byte().permute(1, 2, 0)
    return images, np.ascontiguousarray(looks.cpu().numpy())
