"""Feed-forward networks: what every block mixes channels by."""

from torch import Tensor, nn

from .depthwise import DepthwiseConv2d, ResidualDepthwiseConv2d


class MLP(nn.Module):
    """Feed-forward network on the channels of a map (N, C, h, w): Linear, GELU, Linear."""

    def __init__(self, dim: int, hidden_dim: int):
        super().__init__()
        self.expand = nn.Linear(dim, hidden_dim)
        self.act = nn.GELU()
        self.reduce = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C, h, w), channels_last."""
        return self.reduce(self.act(self.expand(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)


class ConvFFN(nn.Module):
    """Feed-forward network of convolutions on a map (N, C, h, w).

    conv1x1 to ``hidden_dim``, then (with ``depthwise``) z + dwconv3x3(z), or without ``residual``
    dwconv3x3(z) alone, GELU, conv1x1 back.
    """

    def __init__(self, dim: int, hidden_dim: int, depthwise: bool, residual: bool = True):
        super().__init__()
        self.expand = nn.Conv2d(dim, hidden_dim, 1)
        conv = ResidualDepthwiseConv2d if residual else DepthwiseConv2d
        self.depthwise = conv(hidden_dim, 3) if depthwise else nn.Identity()
        self.act = nn.GELU()
        self.reduce = nn.Conv2d(hidden_dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C, h, w), channels_last."""
        return self.reduce(self.act(self.depthwise(self.expand(x))))
