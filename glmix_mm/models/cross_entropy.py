"""Lets mmseg's cross-entropy with class weights take pixels that are to be ignored.

mmseg looks their label, 255, up among the weights to find out what to divide by, and stops.
"""

import functools

from torch import Tensor


def patch_cross_entropy(module) -> None:
    """Let mmseg's ``cross_entropy`` divide by the weights of the pixels that count, as torch's."""
    original = module.cross_entropy
    if getattr(original, 'knows_glmix_mm', False):
        return

    @functools.wraps(original)
    def cross_entropy(
        pred: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        class_weight: Tensor | None = None,
        reduction: str = 'mean',
        avg_factor: float | Tensor | None = None,
        ignore_index: int = -100,
        avg_non_ignore: bool = False,
    ) -> Tensor:
        if class_weight is not None and avg_factor is None and reduction == 'mean':
            counts = label != ignore_index
            avg_factor = (class_weight[label.where(counts, 0)] * counts).sum()
        return original(
            pred, label, weight, class_weight, reduction, avg_factor, ignore_index, avg_non_ignore
        )

    cross_entropy.knows_glmix_mm = True
    module.cross_entropy = cross_entropy


PATCHES = {'mmseg.models.losses.cross_entropy_loss': patch_cross_entropy}
