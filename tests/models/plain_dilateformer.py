"""A literal DilateFormer: the paper's formulas, neighbours unfolded, NCHW, official key names.

The independent reference of the tests, and `unfold_attention` the straightforward baseline that
dilated attention is compared with in speed and memory. Source: arXiv 2302.01791.
"""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F


def layer_norm(x, norm):
    mean = x.mean(1, keepdim=True)
    variance = ((x - mean) ** 2).mean(1, keepdim=True)
    weight, bias = norm.weight.view(1, -1, 1, 1), norm.bias.view(1, -1, 1, 1)
    return (x - mean) / torch.sqrt(variance + 1e-6) * weight + bias


def linear(x, layer):
    """Apply a Linear, or a 1x1 convolution, to the channels of an NCHW map."""
    return F.conv2d(x, layer.weight.view(*layer.weight.shape[:2], 1, 1), layer.bias)


def unfold_attention(qkv, heads, dilations=(1, 2, 3)):
    """Return (N, C, h, w) from qkv (N, 3C, h, w): attention to 3 x 3 neighbours at each spacing.

    Channels are ordered q, k, v; in each, one group for each dilation; in each, heads / groups
    heads. Neighbours outside the map are zero keys and zero values, and stay in the softmax.
    """
    n, channels, h, w = qkv.shape
    head_dim = channels // 3 // heads
    group_heads = heads // len(dilations)
    groups = (part.chunk(len(dilations), 1) for part in qkv.chunk(3, 1))
    outs = []
    for q, k, v, dilation in zip(*groups, dilations, strict=True):
        window = dict(kernel_size=3, dilation=dilation, padding=dilation)
        q = q.reshape(n, group_heads, head_dim, 1, h * w)
        k = F.unfold(k, **window).view(n, group_heads, head_dim, 9, h * w)
        v = F.unfold(v, **window).view(n, group_heads, head_dim, 9, h * w)
        logits = (q * k).sum(2, keepdim=True) * head_dim**-0.5
        out = (torch.softmax(logits, dim=3) * v).sum(3)
        outs.append(out.reshape(n, group_heads * head_dim, h, w))
    return torch.cat(outs, 1)


def global_attention(qkv, heads):
    """Return (N, C, h, w) from qkv (N, 3C, h, w): attention to every position of the map."""
    n, channels, h, w = qkv.shape
    head_dim = channels // 3 // heads
    q, k, v = qkv.reshape(n, 3, heads, head_dim, h * w).transpose(3, 4).unbind(1)
    weights = torch.softmax(q @ k.transpose(2, 3) * head_dim**-0.5, dim=3)
    return (weights @ v).transpose(2, 3).reshape(n, channels // 3, h, w)


class PlainAttention(nn.Module):
    def __init__(self, dim, heads, dilated):
        super().__init__()
        self.heads = heads
        self.attend = unfold_attention if dilated else global_attention
        self.qkv = nn.Conv2d(dim, 3 * dim, 1) if dilated else nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        return linear(self.attend(linear(x, self.qkv), self.heads), self.proj)


class PlainMLP(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        return linear(F.gelu(linear(x, self.fc1)), self.fc2)


class PlainBlock(nn.Module):
    def __init__(self, dim, heads, dilated):
        super().__init__()
        self.pos_embed = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = PlainAttention(dim, heads, dilated)
        self.mlp = PlainMLP(dim)

    def forward(self, x):
        x = x + self.pos_embed(x)
        x = x + self.attn(layer_norm(x, self.norm1))
        return x + self.mlp(layer_norm(x, self.norm2))


class PlainStage(nn.Module):
    def __init__(self, dim, depth, heads, dilated):
        super().__init__()
        self.blocks = nn.Sequential(*(PlainBlock(dim, heads, dilated) for _ in range(depth)))


class Projection(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.proj = nn.Sequential(*layers)

    def forward(self, x):
        return self.proj(x)


class PlainDilateFormer(nn.Module):
    """Official keys without the classifier's; the stages 1 and 2 use dilated attention."""

    def __init__(self, channels, depths, heads):
        super().__init__()
        layers = []
        for (a, b), stride in zip(pairwise([3, 16, 32, 64]), [1, 2, 1], strict=True):
            layers += [nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.GELU()]
        self.patch_embed = Projection(*layers, nn.Conv2d(64, channels[0], 3, 2, 1, bias=False))
        self.stages = nn.ModuleList(
            PlainStage(dim, depth, count, dilated)
            for dim, depth, count, dilated in zip(
                channels, depths, heads, [True, True, False, False], strict=True
            )
        )
        for stage, (a, b) in zip(self.stages, pairwise(channels), strict=False):
            stage.downsample = Projection(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b))

    def forward(self, x):
        """Return the four stages' outputs, each before its stage's downsampling."""
        x = self.patch_embed(x)
        maps = []
        for stage in self.stages:
            x = stage.blocks(x)
            maps.append(x)
            if hasattr(stage, 'downsample'):
                x = stage.downsample(x)
        return maps
