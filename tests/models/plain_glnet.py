"""A literal GLNet: the paper's formulas, explicit softmax matrices, NCHW, official key names.

The independent reference of the tests; slow on purpose. Sources: arXiv 2411.14429 and the
description of each step in glmix_mm/models/glmix.py.
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


class Scale(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(shape))


class PlainBlock(nn.Module):
    def __init__(self, kind, dim, arch):
        super().__init__()
        self.kind = kind
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        attention = nn.MultiheadAttention(dim, dim // 32, batch_first=True)
        if kind == 'glmix':
            self.slot_scale = nn.Parameter(torch.tensor(dim**-0.5))
            self.relation_mha = attention
            self.feature_conv = nn.Sequential(
                nn.Conv2d(dim, dim, 1),
                nn.Conv2d(dim, dim, 5, padding=2, groups=dim),
                nn.Conv2d(dim, dim, 1),
            )
            if arch.slot_init == 'param':
                self.init_slots = nn.Parameter(torch.zeros(1, 64, dim))
        else:
            self.mha_op = attention
        hidden = dim * arch.ffn_ratio
        if kind == 'mha':
            self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        else:
            if arch.cpe_ks:
                self.pos_conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
            depthwise = (
                nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
                if arch.mlp_dw
                else nn.Identity()
            )
            self.mlp = nn.Sequential(
                nn.Conv2d(dim, hidden, 1), depthwise, nn.GELU(), nn.Conv2d(hidden, dim, 1)
            )
            self.mlp_dw = arch.mlp_dw
        if arch.layer_scale:
            shape = (dim,) if kind == 'mha_nchw' else (1, dim, 1, 1)
            self.ls1, self.ls2 = Scale(*shape), Scale(1, dim, 1, 1)

    def forward(self, x):
        x0 = x
        if hasattr(self, 'pos_conv'):
            x = x + self.pos_conv(x)
        y = layer_norm(x, self.norm1)
        mixed = self.glmix(y, x0) if self.kind == 'glmix' else self.attend(y)
        x = x + self.scale(mixed, 'ls1')
        return x + self.scale(self.ffn(layer_norm(x, self.norm2)), 'ls2')

    def scale(self, x, name):
        return x * getattr(self, name).gamma.view(1, -1, 1, 1) if hasattr(self, name) else x

    def attend(self, y):
        tokens = y.flatten(2).transpose(1, 2)
        out = self.mha_op(tokens, tokens, tokens, need_weights=False)[0]
        return out.transpose(1, 2).reshape(y.shape)

    def glmix(self, y, x0):
        n, c, h, w = y.shape
        tokens = y.flatten(2).transpose(1, 2)
        if hasattr(self, 'init_slots'):
            slots = self.init_slots.expand(n, -1, -1)
        else:
            slots = F.adaptive_avg_pool2d(x0, (8, 8)).flatten(2).transpose(1, 2)
        cosine = F.normalize(slots, dim=-1, eps=1e-12) @ F.normalize(
            tokens, dim=-1, eps=1e-12
        ).transpose(1, 2)
        logits = self.slot_scale * cosine
        slots = torch.softmax(logits, dim=2) @ tokens
        slots = self.relation_mha(slots, slots, slots, need_weights=False)[0]
        out = torch.softmax(logits.transpose(1, 2), dim=2) @ slots
        return out.transpose(1, 2).reshape(n, c, h, w) + self.feature_conv(y)

    def ffn(self, x):
        if self.kind == 'mha':
            return self.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        z = self.mlp[0](x)
        if self.mlp_dw:
            z = z + self.mlp[1](z)
        return self.mlp[3](F.gelu(z))


class PlainStage(nn.Module):
    def __init__(self, kinds, dim, arch):
        super().__init__()
        self.blocks = nn.ModuleList(PlainBlock(kind, dim, arch) for kind in kinds)


class PlainGLNet(nn.Module):
    """Official keys without the classifier's; ``arch`` is a GLNetArch."""

    def __init__(self, arch):
        super().__init__()
        dims = arch.channels
        if arch.patch_embed == 'ovlp':
            half = dims[0] // 2
            stem = [
                nn.Identity(),
                nn.Conv2d(3, half, 3, 2, 1),
                nn.BatchNorm2d(half),
                nn.GELU(),
                nn.Conv2d(half, dims[0], 3, 2, 1),
                nn.BatchNorm2d(dims[0]),
            ]
            downs = [[nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b)] for a, b in pairwise(dims)]
        else:
            stem = [nn.Conv2d(3, dims[0], 4, 4), nn.BatchNorm2d(dims[0])]
            downs = [[nn.BatchNorm2d(a), nn.Conv2d(a, b, 2, 2)] for a, b in pairwise(dims)]
        self.downsample_layers = nn.ModuleList(nn.Sequential(*layers) for layers in [stem, *downs])
        self.stages = nn.ModuleList()
        for mixers, dim, depth in zip(arch.mixers, dims, arch.depths, strict=True):
            kinds = mixers.split('.')
            self.stages.append(PlainStage([kinds[j % len(kinds)] for j in range(depth)], dim, arch))

    def forward(self, x):
        """Return the four stages' outputs."""
        maps = []
        for down, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = down(x.contiguous())
            for block in stage.blocks:
                x = block(x)
            maps.append(x)
        return maps
