"""mmseg's cross-entropy with class weights that takes pixels that are to be ignored."""

from mmengine.registry import MODELS
from mmseg.models.losses import CrossEntropyLoss
from mmseg.models.losses.cross_entropy_loss import cross_entropy
from torch import Tensor


def weighted_cross_entropy(
    pred: Tensor,
    label: Tensor,
    weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    reduction: str = 'mean',
    avg_factor: float | Tensor | None = None,
    ignore_index: int = -100,
    avg_non_ignore: bool = False,
) -> Tensor:
    """Return mmseg's ``cross_entropy``, divided by the weights of the pixels that count.

    That is torch's mean. mmseg's own looks the label of ignored pixels, 255, up among the weights
    to find out what to divide by, and stops.
    """
    if class_weight is not None and avg_factor is None and reduction == 'mean':
        counts = label != ignore_index
        avg_factor = (class_weight[label.where(counts, 0)] * counts).sum()
    return cross_entropy(
        pred, label, weight, class_weight, reduction, avg_factor, ignore_index, avg_non_ignore
    )


@MODELS.register_module()
class WeightedCrossEntropyLoss(CrossEntropyLoss):
    """mmseg's ``CrossEntropyLoss`` with :func:`weighted_cross_entropy`; the same arguments.

    Sigmoid and mask losses are mmseg's own.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.cls_criterion is cross_entropy:
            self.cls_criterion = weighted_cross_entropy
