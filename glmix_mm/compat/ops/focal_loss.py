"""Focal losses (Lin et al. 2017, equation 5) on the sigmoid and on the softmax.

Let sigma(x) be the probability of a class. If the target is another class, the loss is (1 - alpha)
* sigma(x)^gamma * softplus(x). If it is the target, x and 1 - alpha are replaced by -x and alpha.
mmcv's kernels bound the logarithm at that of the smallest float, so their loss jumps from 17 to 87
where a float32 probability reaches 1. This one does not.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .widen import widen


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss of every class to ``output``.

    Args:
        input: logits [N, C].
        target: class of each row [N]; any number outside 0 ... C - 1 is background.
        weight: [C], the factor of a row by its target (1 for background), or empty.
        output: [N, C], written.
        gamma: exponent of the modulating factor.
        alpha: weight of the target's class; the others have 1 - alpha.
    """
    (logits,) = widen(input)
    index, positive = _target_class(target, logits.shape[1])
    loss = _modulated_loss(logits, gamma) * (1 - alpha)
    at_target = _modulated_loss(-logits.gather(1, index), gamma) * alpha
    loss.scatter_(1, index, torch.where(positive, at_target, loss.gather(1, index)))
    output.copy_(loss * _row_weight(weight, index, positive))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the derivative of every class's loss to ``grad_input``; arguments as in forward."""
    (logits,) = widen(input)
    index, positive = _target_class(target, logits.shape[1])
    slope = _modulated_slope(logits, gamma) * (1 - alpha)
    at_target = -_modulated_slope(-logits.gather(1, index), gamma) * alpha
    slope.scatter_(1, index, torch.where(positive, at_target, slope.gather(1, index)))
    grad_input.copy_(slope * _row_weight(weight, index, positive))


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss -alpha * (1 - p)^gamma * log(p) of each row's target to ``output``.

    Args:
        input: probabilities [N, C], the softmax of the logits.
        target: class of each row [N], below C; a row with a negative one has loss 0.
        weight: [C], the factor of a row by its target, or empty.
        output: [N], written.
        gamma: exponent of the modulating factor.
        alpha: factor of the loss.
    """
    (probability,) = widen(input)
    _, rest, log_p, factor = _softmax_terms(probability, target, weight, alpha)
    output.copy_((-factor * rest.pow(gamma) * log_p).squeeze(1))


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the derivative by the logits to ``grad_input`` [N, C], and its factor to ``buff`` [N].

    The other arguments are those of forward; ``buff`` is dloss/dp * p of each row.
    """
    (probability,) = widen(input)
    p, rest, log_p, factor = _softmax_terms(probability, target, weight, alpha)
    row = factor * (gamma * rest.pow(gamma - 1) * p * log_p - rest.pow(gamma))
    buff.copy_(row.squeeze(1))
    gradient = -row * probability
    gradient.scatter_add_(1, target.clamp(min=0)[:, None], row)
    grad_input.copy_(gradient)


def _modulated_loss(x: Tensor, gamma: float) -> Tensor:
    """Return sigma(x)^gamma * softplus(x)."""
    return x.sigmoid().pow_(gamma).mul_(F.logsigmoid(-x)).neg_()


def _modulated_slope(x: Tensor, gamma: float) -> Tensor:
    """Return the derivative of :func:`_modulated_loss` by x."""
    p = x.sigmoid()
    return p.pow(gamma) * (p - gamma * (-x).sigmoid() * F.logsigmoid(-x))


def _target_class(target: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return each row's class as an index [N, 1], clamped, and whether it is one [N, 1]."""
    index = target[:, None]
    return index.clamp(0, classes - 1), (index >= 0) & (index < classes)


def _row_weight(weight: Tensor, index: Tensor, positive: Tensor) -> Tensor | float:
    """Return the factor of each row [N, 1]; mmcv reads past the end of ``weight`` instead of 1."""
    return torch.where(positive, weight[index], 1) if weight.numel() else 1.0


def _softmax_terms(
    probability: Tensor, target: Tensor, weight: Tensor, alpha: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return p, 1 - p, log p of the target's class and the row's factor, [N, 1] each."""
    index = target.clamp(min=0)[:, None]
    tiny = torch.finfo(probability.dtype).tiny  # keeps log p and (1 - p)^(gamma - 1) finite
    p = probability.gather(1, index)
    factor = torch.where(target[:, None] >= 0, alpha, torch.zeros_like(p))
    if weight.numel():
        factor = factor * weight[index]
    return p, (1 - p).clamp(min=tiny), p.clamp(min=tiny).log(), factor
