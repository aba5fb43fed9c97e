"""Layers that more than one backbone family uses.

Feature maps are (N, C, h, w) tensors in channels_last memory. So a map and its (N, h * w, C) tokens
are two views of the same memory, and conversion copies nothing.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .ops.attention import attention
from .ops.depthwise import ResidualDepthwiseConv2d
from .ops.precision import HALF


def to_tokens(x: Tensor) -> Tensor:
    """View a map (N, C, h, w) as row-major tokens (N, h * w, C); copies unless channels_last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def to_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """View tokens (N, h * w, C) as a channels_last map (N, C, h, w)."""
    return tokens.unflatten(1, (height, width)).permute(0, 3, 1, 2)


class _CanonicalGradient(torch.autograd.Function):
    """Identity whose gradient is channels_last with canonical strides; the memory is kept."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return torch.ops.aten.alias(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        # `contiguous` alone ignores the strides of axes of one element; a flat view has none.
        n, c, h, w = grad.shape
        return grad.permute(0, 2, 3, 1).reshape(-1).view(n, h, w, c).permute(0, 3, 1, 2)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose backward is right whatever the strides of the incoming gradient.

    PyTorch (seen in 2.13 and 2.15, CPU) returns wrong gradients, without a warning, for an NCHW
    batch of one whose incoming gradient is laid out as channels_last except for the batch stride.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, h, w) over N, h and w, or with the running statistics in eval mode."""
        x = super().forward(x)
        return _CanonicalGradient.apply(x) if x.requires_grad else x


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of a map (N, C, h, w), eps 1e-6.

    On the CPU a map in half precision is normalised in float32 where gradients are wanted: PyTorch
    (seen in 2.15) sums up the weight's and the bias's gradients in bfloat16 there, which is 15 and
    50 % wrong at 20,000 positions, and worse beyond.
    """

    def __init__(self, dim: int):
        super().__init__(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised map, (N, C, h, w), channels_last."""
        tokens = x.permute(0, 2, 3, 1)
        if x.dtype in HALF and x.device.type == 'cpu' and torch.is_grad_enabled():
            weight, bias = self.weight.float(), self.bias.float()
            out = F.layer_norm(tokens.float(), self.normalized_shape, weight, bias, self.eps)
            return out.to(x.dtype).permute(0, 3, 1, 2)
        return super().forward(tokens).permute(0, 3, 1, 2)


class GroupNorm1(nn.GroupNorm):
    """Group norm of a map (N, C, h, w) with one group: over channels and positions, eps 1e-5."""

    def __init__(self, dim: int):
        super().__init__(1, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, h, w)."""
        if torch.compiler.is_compiling() or x.requires_grad or not torch.is_grad_enabled():
            return super().forward(x)
        # Behind frozen layers. On CPUs torch 2.9 crashes if only its weights learn.
        return super().forward(x.detach().requires_grad_(self.weight.requires_grad))


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): drops a branch for some images of a training batch.

    The same numbers as ``torchvision.ops.StochasticDepth(p, 'row')``, without torchvision, which
    takes as long to import as torch.

    Args:
        p: probability that an image's branch is dropped; the others are scaled by 1 / (1 - p).
    """

    def __init__(self, p: float):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f'drop path rate {p}: expected a number from 0 to 1')
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, ...) to (N, ...)."""
        if not self.training or not self.p:
            return x
        kept = x.new_empty((len(x),) + (1,) * (x.dim() - 1)).bernoulli_(1 - self.p)
        return x * (kept.div_(1 - self.p) if self.p < 1 else kept)

    def extra_repr(self) -> str:
        """Show the probability."""
        return f'p={self.p}'


class LayerScale(nn.Module):
    """Multiplies each channel of a map by a learned factor (CaiT, arXiv 2103.17239)."""

    def __init__(self, dim: int, init: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), float(init)))

    def forward(self, x: Tensor) -> Tensor:
        """Scale (N, C, h, w)."""
        return x * self.gamma.view(-1, 1, 1)


class SelfAttention(nn.Module):
    """Multi-head self-attention over all tokens.

    Args:
        dim: channels C.
        head_dim: channels of a head; C must be a multiple of it.

    Computes what ``torch.nn.MultiheadAttention`` with C / head_dim heads does; its ``in_proj`` is
    ``qkv`` here and its ``out_proj`` is ``proj``.
    """

    def __init__(self, dim: int, head_dim: int):
        super().__init__()
        self.head_dim = head_dim
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (N, L, C) to (N, L, C)."""
        qkv = self.qkv(tokens).unflatten(2, (3, -1, self.head_dim))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (N, heads, L, head_dim)
        return self.proj(attention(query, key, value).transpose(1, 2).flatten(2))


class GlobalAttention(SelfAttention):
    """Multi-head self-attention over all positions of a map."""

    def forward(self, x: Tensor, block_input: Tensor | None = None) -> Tensor:
        """Map (N, C, h, w) to (N, C, h, w); ``block_input`` is not used."""
        return to_map(super().forward(to_tokens(x)), *x.shape[2:])


class Block(nn.Module):
    """The residual block of all families: position encoding, mixer, FFN.

    With x0 the block's input, it computes in this order:

    - x <- x + dwconv(x), if there is a conditional position encoding
    - x <- x + DropPath(LS(mixer(norm(x), x0)))
    - x <- x + DropPath(LS(ffn(norm(x))))

    Args:
        dim: channels C.
        mixer: mixes positions; called with the normalised map and the block's input.
        ffn: mixes channels.
        cpe_ks: kernel size of the conditional position encoding; 0 for none.
        layer_scale: initial value of the layer scales; None for none.
        drop_path: probability of dropping a residual branch of an image in training.
        norm: makes a norm from a number of channels.
    """

    def __init__(
        self,
        dim: int,
        mixer: nn.Module,
        ffn: nn.Module,
        cpe_ks: int = 0,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        norm: Callable[[int], nn.Module] = LayerNorm2d,
    ):
        super().__init__()
        self.cpe = ResidualDepthwiseConv2d(dim, cpe_ks) if cpe_ks else nn.Identity()
        self.norm1 = norm(dim)
        self.mixer = mixer
        self.norm2 = norm(dim)
        self.ffn = ffn
        scaled = layer_scale is not None
        self.ls1 = LayerScale(dim, layer_scale) if scaled else nn.Identity()
        self.ls2 = LayerScale(dim, layer_scale) if scaled else nn.Identity()
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C, h, w)."""
        block_input, x = x, self.cpe(x)
        x = x + self.drop_path(self.ls1(self.mixer(self.norm1(x), block_input)))
        return x + self.drop_path(self.ls2(self.ffn(self.norm2(x))))

    def mixer_inputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the mixer gets for x: the normalised map and the block's input."""
        return self.norm1(self.cpe(x)), x


def downsample(previous: int, dim: int) -> nn.Sequential:
    """Return an overlapping patch embedding of stride 2 between stages."""
    return nn.Sequential(nn.Conv2d(previous, dim, 3, stride=2, padding=1), BatchNorm2d(dim))


def init_linear(module: nn.Module) -> None:
    """Initialise a linear layer as the authors of all families here do: N(0, 0.02), biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
