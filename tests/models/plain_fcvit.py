"""A literal FCViT: the paper's formulas step by step, NCHW, official key names.

The independent reference of the tests; slow on purpose. Source: arXiv 2212.12552.
"""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

HEADS = 8


def group_norm(x, norm):
    """Normalise each image over its channels and positions together."""
    mean = x.mean((1, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((1, 2, 3), keepdim=True)
    weight, bias = norm.weight.view(1, -1, 1, 1), norm.bias.view(1, -1, 1, 1)
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight + bias


class GlobalContext(nn.Module):
    """Each position's similarity to the image's mean, times a context vector."""

    def __init__(self, dim):
        super().__init__()
        self.rescale_weight = nn.Parameter(torch.ones(HEADS))
        self.rescale_bias = nn.Parameter(torch.zeros(HEADS))
        self.fc1 = nn.Linear(dim, 2 * (dim // 8))
        self.fc2 = nn.Linear(dim // 8, dim)

    def forward(self, x):
        sim = self.similarity(x).repeat_interleave(x.shape[1] // HEADS, dim=1)
        return sim * self.context(x)[:, :, None, None]

    def similarity(self, x):
        """Return (N, heads, h, w), standardised over each image and rescaled by head."""
        n, c, h, w = x.shape
        products = x * x.mean((2, 3), keepdim=True)
        sim = products.reshape(n, HEADS, c // HEADS, h, w).sum(2) * (c // HEADS) ** -0.5
        centred = sim - sim.mean((1, 2, 3), keepdim=True)
        # The unbiased deviation: one less than the count of entries.
        count = HEADS * h * w
        deviation = torch.sqrt((centred**2).sum((1, 2, 3), keepdim=True) / (count - 1))
        sim = centred / (deviation + 1e-5)
        weight, bias = self.rescale_weight, self.rescale_bias
        return sim * weight.view(1, HEADS, 1, 1) + bias.view(1, HEADS, 1, 1)

    def context(self, x):
        """Return (N, C); the two halves of the hidden vector compete."""
        first, second = self.fc1(x.mean((2, 3))).chunk(2, dim=1)
        return self.fc2(torch.maximum(first, second))


class PlainTokenMixer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.gc1, self.gc2 = GlobalContext(dim), GlobalContext(dim)
        self.dw1 = nn.Conv2d(dim, dim, 11, padding=5, groups=dim)
        self.dw2 = nn.Conv2d(dim, dim, 11, padding=5, groups=dim)
        hidden = max(dim // 8, 16)
        self.fc1 = nn.Sequential(nn.Conv2d(dim, hidden, 1), nn.GELU(), nn.Conv2d(hidden, dim, 1))
        self.fc2 = nn.Sequential(nn.Conv2d(dim, hidden, 1), nn.GELU(), nn.Conv2d(hidden, dim, 1))

    def forward(self, x):
        x = x + self.gc1(x)
        x = F.gelu(self.fc1(self.dw1(x)))
        x = x + self.gc2(x)
        return F.gelu(self.fc2(self.dw2(x)))


class PlainChannelMixer(nn.Module):
    def __init__(self, dim, ratio):
        super().__init__()
        hidden = dim * ratio
        self.fc1 = nn.Conv2d(dim, hidden, 1)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.fc2 = nn.Conv2d(hidden, dim, 1)

    def forward(self, x):
        return self.fc2(F.gelu(self.dwconv(self.fc1(x))))


class PlainBlock(nn.Module):
    def __init__(self, dim, ratio):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(1, dim), nn.GroupNorm(1, dim)
        self.token_mixer = PlainTokenMixer(dim)
        self.channel_mixer = PlainChannelMixer(dim, ratio)
        self.layer_scale_1 = nn.Parameter(torch.full((dim,), 1e-5))
        self.layer_scale_2 = nn.Parameter(torch.full((dim,), 1e-5))

    def forward(self, x):
        scale1, scale2 = self.layer_scale_1.view(1, -1, 1, 1), self.layer_scale_2.view(1, -1, 1, 1)
        x = x + scale1 * self.token_mixer(group_norm(x, self.norm1))
        return x + scale2 * self.channel_mixer(group_norm(x, self.norm2))


class PlainEmbedding(nn.Module):
    def __init__(self, conv):
        super().__init__()
        self.proj, self.norm = conv, nn.BatchNorm2d(conv.out_channels)

    def forward(self, x):
        return self.norm(self.proj(x))


class PlainFCViT(nn.Module):
    """Official keys without the classifier's."""

    def __init__(self, channels, depths, ffn_ratios):
        super().__init__()
        self.patch_embed = PlainEmbedding(nn.Conv2d(3, channels[0], 7, 4, 3))
        stages = [
            nn.Sequential(*(PlainBlock(dim, ratio) for _ in range(depth)))
            for dim, depth, ratio in zip(channels, depths, ffn_ratios, strict=True)
        ]
        self.network = nn.ModuleList(stages[:1])
        for (a, b), stage in zip(pairwise(channels), stages[1:], strict=True):
            self.network += [PlainEmbedding(nn.Conv2d(a, b, 3, 2, 1)), stage]

    def forward(self, x):
        """Return the four stages' outputs."""
        x = self.patch_embed(x)
        maps = []
        for place, layer in enumerate(self.network):
            x = layer(x)
            if place % 2 == 0:
                maps.append(x)
        return maps
