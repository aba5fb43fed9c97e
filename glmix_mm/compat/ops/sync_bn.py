"""Batch normalization in the steps between which mmcv's SyncBatchNorm sums over processes.

Inputs are [N, C, S], statistics [C] in float32.
"""

from torch import Tensor


def sync_bn_forward_mean(input: Tensor, mean: Tensor) -> None:
    """Write the mean of each channel to ``mean``."""
    mean.copy_(input.float().mean((0, 2)))


def sync_bn_forward_var(input: Tensor, mean: Tensor, var: Tensor) -> None:
    """Write the mean square distance of each channel's values from ``mean`` to ``var``."""
    var.copy_((input.float() - mean[:, None]).square().mean((0, 2)))


def sync_bn_forward_output(
    input: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    norm: Tensor,
    std: Tensor,
    output: Tensor,
    eps: float,
    momentum: float,
    group_size: int,
) -> None:
    """Write the normalized values, and move the running statistics.

    Args:
        input: of this process.
        mean: over all processes.
        var: likewise.
        weight: scale of each channel.
        bias: added to each channel.
        running_mean: moved towards ``mean``; None if none is kept.
        running_var: moved towards the unbiased variance.
        norm: written: values of mean 0 and variance 1.
        std: written: standard deviations.
        output: written: ``norm * weight + bias``.
        eps: added to the variance.
        momentum: share of the new statistics in the running ones.
        group_size: processes.
    """
    std.copy_((var + eps).sqrt())
    norm.copy_((input.float() - mean[:, None]) / std[:, None])
    output.copy_(norm * weight[:, None] + bias[:, None])
    count = input.numel() // len(mean) * group_size
    if running_mean is not None:
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * count / max(count - 1, 1), momentum)


def sync_bn_backward_param(
    grad_output: Tensor, norm: Tensor, grad_weight: Tensor, grad_bias: Tensor
) -> None:
    """Write the gradients of weight and bias to ``grad_weight`` and ``grad_bias``."""
    gradient = grad_output.float()
    grad_weight.copy_((gradient * norm).sum((0, 2)))
    grad_bias.copy_(gradient.sum((0, 2)))


def sync_bn_backward_data(
    grad_output: Tensor,
    weight: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    norm: Tensor,
    std: Tensor,
    grad_input: Tensor,
) -> None:
    """Write the gradient of the input to ``grad_input``; those of weight and bias are means."""
    count = norm.numel() // len(std)
    through_statistics = (grad_weight[:, None] * norm + grad_bias[:, None]) / count
    scale = (weight / std)[:, None]
    grad_input.copy_(scale * (grad_output.float() - through_statistics))
