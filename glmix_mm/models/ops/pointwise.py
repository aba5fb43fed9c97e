"""1x1 convolutions, as matrix products on a map's tokens, and the GELU before them.

On the CPU a product takes up to a third less than a convolution, forward and backward. The plain
forms are the convolution, and the linear layer of a GELU that is kept.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .precision import no_autocast, sum_dtype
from .row_chunks import chunks_pay, row_chunks
from .switch import is_plain


class Pointwise(nn.Conv2d):
    """A 1x1 convolution of a map (N, C, h, w) in channels_last memory."""

    def __init__(self, dim: int, out_dim: int):
        super().__init__(dim, out_dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C', h, w), channels_last."""
        if is_plain():
            return super().forward(x)
        x = F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
        return x.permute(0, 3, 1, 2)


class GELUPointwise(Pointwise):
    """A 1x1 convolution of the GELU of a map."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C', h, w), channels_last."""
        x = gelu_linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
        return x.permute(0, 3, 1, 2)


class GELULinear(nn.Linear):
    """A linear layer on the GELU of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C')."""
        return gelu_linear(x, self.weight, self.bias)


def gelu_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the linear layer of GELU(x).

    Args:
        x: (..., C).
        weight: (C', C).
        bias: (C',).

    Returns:
        (..., C'). On the CPU the GELU, chunk by chunk, is not kept for the backward pass but
        computed again in it: it is as large as x, and a training step is no slower for it.
    """
    if not (torch.is_grad_enabled() and chunks_pay(x)):
        return F.linear(F.gelu(x), weight, bias)
    if torch.is_autocast_enabled('cpu'):
        dtype = torch.get_autocast_dtype('cpu')
        x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
    with no_autocast(x):
        return _GELULinear.apply(x.flatten(0, -2), weight, bias).unflatten(0, x.shape[:-1])


class _GELULinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        out = x.new_empty(len(x), len(weight))
        for start, end in row_chunks(*x.shape):
            torch.addmm(bias, F.gelu(x[start:end]), weight.t(), out=out[start:end])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        dtype = sum_dtype(x)
        grad_x = torch.empty_like(x) if needs_x else None
        grad_weight = torch.zeros_like(weight, dtype=dtype) if needs_weight else None
        for start, end in row_chunks(*x.shape):
            rows, grad_rows = x[start:end], grad[start:end]
            if needs_weight:
                grad_weight += grad_rows.t() @ F.gelu(rows)
            if needs_x:
                torch.ops.aten.gelu_backward.grad_input(
                    grad_rows @ weight, rows, grad_input=grad_x[start:end]
                )
        grad_weight = grad_weight.to(weight.dtype) if needs_weight else None
        grad_bias = grad.sum(0, dtype=dtype).to(weight.dtype) if needs_bias else None
        return grad_x, grad_weight, grad_bias
