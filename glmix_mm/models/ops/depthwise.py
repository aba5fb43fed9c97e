"""Depthwise convolutions whose weight gradient is fast on the CPU.

oneDNN takes far longer for the weight gradient of a large depthwise kernel than for the convolution
itself (torch 2.15, 11 x 11 on 64 channels of 200 x 320: 90 against 8 ms), and as long for the bias
alone. Here it is a few matrix products: the gradient of the output, cut into pieces of a row, times
the pieces of the input that they meet.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .precision import at_least_float32, in_half, sum_dtype
from .switch import is_plain

MIN_KERNEL_SIZE = 5  # below it oneDNN is as fast
PIECE = 16  # positions of a row; of 8, 16, 32 and 48 the best on the whole
ELEMENTS_AT_A_TIME = 2**20  # of the input: what is copied at a time stays small


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that keeps the map's size.

    Args:
        dim: channels C.
        kernel_size: odd number of rows and columns.
    """

    def __init__(self, dim: int, kernel_size: int):
        super().__init__(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C, h, w)."""
        return self._convolve(x, self.weight)

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        large = self.kernel_size[0] >= MIN_KERNEL_SIZE
        on_cpu = x.device.type == 'cpu' and torch.is_grad_enabled()
        if is_plain() or not (large and on_cpu):
            return self._conv_forward(x, weight, self.bias)
        # torch's own derivative for the input alone, ours for weight and bias.
        out = self._conv_forward(x, weight.detach(), self.bias.detach())
        return _WeightGradient.apply(out, x, weight, self.bias)


class ResidualDepthwiseConv2d(DepthwiseConv2d):
    """x + depthwise convolution of x, as one convolution: 1 is added to its kernel's middle.

    In half precision 1 + w would lose most of a small w, so there the sum is taken.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C, h, w)."""
        if is_plain() or in_half(x):
            return x + super().forward(x)
        middle = F.pad(self.weight.new_ones(1, 1, 1, 1), [self.kernel_size[0] // 2] * 4)
        return self._convolve(x, self.weight + middle)


class _WeightGradient(torch.autograd.Function):
    """Identity on a convolution's output that sends gradients to the weight and the bias."""

    @staticmethod
    def forward(ctx, out: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.kernel_size = weight.shape[2]
        ctx.dtype = weight.dtype
        return torch.ops.aten.alias(out)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple:
        (x,) = ctx.saved_tensors
        _, _, needs_weight, needs_bias = ctx.needs_input_grad
        weight = bias = None
        if needs_weight:
            weight = depthwise_weight_gradient(x.detach(), grad, ctx.kernel_size).to(ctx.dtype)
        if needs_bias:
            bias = grad.sum((0, 2, 3), dtype=ctx.dtype)
        return grad, None, weight, bias


def depthwise_weight_gradient(x: Tensor, grad: Tensor, kernel_size: int) -> Tensor:
    """Return the gradient of a depthwise convolution's weight, (C, 1, k, k).

    Args:
        x: the input, (N, C, h, w).
        grad: the gradient of the output, of the same shape.
        kernel_size: k, odd; zeros pad the input by k // 2.

    The gradient at (i, j) is the sum over positions (y, x) of grad[y, x] * input[y + i, x + j].
    """
    n, dim, height, width = x.shape
    step = max(1, ELEMENTS_AT_A_TIME // max(1, n * height * width))
    parts = [
        _weight_gradient(x[:, start : start + step], grad[:, start : start + step], kernel_size)
        for start in range(0, dim, step)
    ]
    return torch.cat(parts).unsqueeze(1)


def _weight_gradient(x: Tensor, grad: Tensor, k: int) -> Tensor:
    n, dim, height, width = grad.shape
    pieces = -(-width // PIECE)
    reach = PIECE + k - 1  # columns of the input that a piece of the gradient meets
    edge = k // 2
    padded = grad.new_zeros(n, dim, height + k - 1, pieces * PIECE + k - 1)
    padded[:, :, edge : edge + height, edge : edge + width] = x
    # (N * C, rows * pieces, reach): what the pieces of each row meet, row by row
    met = padded.unfold(3, reach, PIECE).reshape(n * dim, (height + k - 1) * pieces, reach)
    cut = grad.new_zeros(n, dim, height, pieces * PIECE)
    cut[..., :width] = grad
    cut = cut.view(n * dim, height * pieces, PIECE).transpose(1, 2)
    out = grad.new_empty(dim, k, k, dtype=sum_dtype(grad))
    for i in range(k):
        rows = met[:, i * pieces : (i + height) * pieces]
        products = at_least_float32(torch.bmm(cut, rows)).view(n, dim, PIECE, reach).sum(0)
        # Position p of a piece meets the input's column p + j for the weight's column j.
        channel, position, column = products.stride()
        diagonals = products.as_strided((dim, k, PIECE), (channel, column, position + column))
        out[:, i] = diagonals.sum(2)
    return out
