"""Feed-forward networks: what every block mixes channels by."""

import torch
from torch import Tensor, nn

from .ops.depthwise import DepthwiseConv2d, ResidualDepthwiseConv2d
from .ops.pointwise import GELULinear, GELUPointwise, Pointwise
from .ops.row_chunks import chunks_pay, in_chunks


class FFN(nn.Module):
    """Feed-forward network on a map (N, C, h, w): to ``hidden_dim`` channels, GELU, and back.

    Inference on the CPU goes chunk by chunk, each with ``halo`` rows of its neighbours.
    """

    def __init__(self, hidden_dim: int, halo: int):
        super().__init__()
        self.hidden_dim = hidden_dim
        self.halo = halo

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C, h, w), channels_last."""
        if torch.is_grad_enabled() or not chunks_pay(x):
            return self.mix(x)
        return in_chunks(self.mix, x, self.hidden_dim, self.halo)


class MLP(FFN):
    """Linear, GELU, Linear on the channels."""

    def __init__(self, dim: int, hidden_dim: int):
        super().__init__(hidden_dim, halo=0)
        self.expand = nn.Linear(dim, hidden_dim)
        self.reduce = GELULinear(hidden_dim, dim)

    def mix(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C, h, w) in one go."""
        return self.reduce(self.expand(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class ConvFFN(FFN):
    """Feed-forward network of convolutions.

    conv1x1 to ``hidden_dim``, then (with ``depthwise``) z + dwconv3x3(z), or without ``residual``
    dwconv3x3(z) alone, GELU, conv1x1 back.
    """

    def __init__(self, dim: int, hidden_dim: int, depthwise: bool, residual: bool = True):
        super().__init__(hidden_dim, halo=1 if depthwise else 0)
        self.expand = Pointwise(dim, hidden_dim)
        conv = ResidualDepthwiseConv2d if residual else DepthwiseConv2d
        self.depthwise = conv(hidden_dim, 3) if depthwise else nn.Identity()
        self.reduce = GELUPointwise(hidden_dim, dim)

    def mix(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C, h, w) in one go."""
        return self.reduce(self.depthwise(self.expand(x)))
