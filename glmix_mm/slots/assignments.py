"""The assignments of the slots of GLNet's blocks, and the slots that represent all others."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UserError
from ..models.glmix import GLMix
from .kmedoids import k_medoids


@torch.no_grad()
def slot_assignments(
    backbone: nn.Module, images: Tensor, blocks: Sequence[int]
) -> dict[int, Tensor]:
    """Return how the positions of images are shared out among the slots of some blocks.

    The stages run block by block, in evaluation mode, up to the last block that is asked for. This
    sets no hook and leaves the backbone unchanged.

    Args:
        backbone: a :class:`~glmix_mm.models.glnet.GLNet`.
        images: (N, 3, H, W), normalised.
        blocks: numbers of GLMix blocks, counted over all stages from 0.

    Returns:
        A dict from the number of a block to its shares, (N, S, h, w), where h and w are the size of
        the block's map. The shares of a position sum to 1.

    Raises:
        UserError: the backbone has no such block.
    """
    check_blocks(backbone, blocks)
    wanted, found = set(blocks), {}
    modes = [(module, module.training) for module in backbone.modules()]
    backbone.eval()
    try:
        number, x = 0, images.contiguous(memory_format=torch.channels_last)
        for stage in backbone.stages:
            x = stage.embed(x)
            for block in stage.blocks:
                if has_slots(block):
                    if number in wanted:
                        found[number] = block.mixer.assignment(*block.mixer_inputs(x))
                    number += 1
                if len(found) == len(wanted):
                    return {index: found[index] for index in blocks}
                x = block(x)
    finally:
        for module, training in modes:
            module.training = training


def has_slots(block: nn.Module) -> bool:
    """Return whether a block mixes positions through slots."""
    return isinstance(block.mixer, GLMix) and block.mixer.has_global


def blocks_of_stages(backbone: nn.Module) -> dict[int, list[int]]:
    """Return the numbers of the GLMix blocks of each stage that has any; stages count from 1.

    Raises:
        UserError: there are none.
    """
    numbers, count = {}, 0
    for place, stage in enumerate(getattr(backbone, 'stages', ()), 1):
        own = sum(has_slots(block) for block in stage.blocks)
        if own:
            numbers[place] = list(range(count, count + own))
        count += own
    if not count:
        raise UserError(f'{type(backbone).__name__} has no blocks with slots; give a GLNet')
    return numbers


def check_blocks(backbone: nn.Module, blocks: Sequence[int]) -> None:
    """Check that blocks of these numbers exist.

    Raises:
        UserError: one does not; the message says which exist.
    """
    stages = blocks_of_stages(backbone)
    last = max(numbers[-1] for numbers in stages.values())
    wrong = [number for number in blocks if not 0 <= number <= last]
    if wrong or not blocks:
        places = ', '.join(f'{n[0]} to {n[-1]} in stage {stage}' for stage, n in stages.items())
        raise UserError(
            f'no GLMix block {", ".join(map(str, wrong)) or "is named"}: this '
            f'{type(backbone).__name__} has {last + 1}, numbers {places}'
        )


class SlotStatistics(NamedTuple):
    """How a block's slots share an image.

    Attributes:
        strongest: how many slots are the strongest at any position.
        sharing: how many slots would share a position evenly at the mean entropy of the shares:
            from 1, where each position has a slot, to the number of slots.
    """

    strongest: int
    sharing: float


def slot_statistics(assignment: np.ndarray) -> SlotStatistics:
    """Sum up an image's shares (S, h, w)."""
    logarithms = np.log(assignment, where=assignment > 0, out=np.zeros_like(assignment))
    entropy = -(assignment * logarithms).sum(0).mean()
    return SlotStatistics(len(np.unique(assignment.argmax(0))), float(np.exp(entropy)))


def representative_slots(assignment: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose the slots whose maps represent those of all slots, by k-medoids.

    The distance of two maps is 1 - their correlation, so it depends on where a slot is, not on how
    much it contains. By plain distances, slots that contain little anywhere are near to each other,
    and one of them would be chosen.

    Args:
        assignment: shares of an image's positions, (S, h, w).
        count: how many; all slots if there are fewer.

    Returns:
        The slots' numbers and how many slots each of them represents, itself included. Those that
        represent most come first.
    """
    maps = assignment.reshape(len(assignment), -1).astype(np.float64)
    maps = maps - maps.mean(1, keepdims=True)
    maps /= np.linalg.norm(maps, axis=1, keepdims=True).clip(1e-12)
    distances = 1 - maps @ maps.T
    np.fill_diagonal(distances, 0)  # also where a map is constant, which has no correlation
    chosen, nearest = k_medoids(distances, min(count, len(maps)))
    sizes = np.bincount(nearest, minlength=len(chosen))
    order = np.argsort(-sizes, kind='stable')
    return chosen[order], sizes[order]
