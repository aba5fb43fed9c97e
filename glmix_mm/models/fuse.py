"""Folds what is linear into its neighbour, for inference: exact except for rounding.

Batch norms go into the convolutions beside them, layer scales into the linear layers before them.
(A depthwise convolution's residual is in its kernel already where that is exact, see
:class:`~glmix_mm.models.ops.depthwise.ResidualDepthwiseConv2d`.)
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .ffn import MLP, ConvFFN
from .glmix import GLMix
from .layers import Block, LayerScale, SelfAttention


@torch.no_grad()
def fuse_stages(stages: nn.ModuleList) -> None:
    """Fold the stages of a backbone in evaluation mode, in place."""
    for stage in stages:
        stage.embed = fuse_embedding(stage.embed)
        for block in stage.blocks:
            _fuse_block(block)


def fuse_embedding(embed: nn.Sequential) -> nn.Sequential:
    """Fold each batch norm into the convolution before it, or else into the one after it.

    The latter is exact only because a convolution that follows a batch norm pads nothing.
    """
    layers = list(embed)
    for place, layer in enumerate(layers):
        if not isinstance(layer, nn.BatchNorm2d):
            continue
        if place and isinstance(layers[place - 1], nn.Conv2d):
            layers[place - 1] = fuse_conv_bn_eval(layers[place - 1], layer)
        else:
            layers[place + 1] = _fuse_norm_conv(layer, layers[place + 1])
        layers[place] = nn.Identity()
    return nn.Sequential(*layers)


def _fuse_norm_conv(norm: nn.BatchNorm2d, conv: nn.Conv2d) -> nn.Conv2d:
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    shift = norm.bias - norm.running_mean * scale
    conv.bias += (conv.weight * shift.view(-1, 1, 1)).sum((1, 2, 3))
    conv.weight *= scale.view(-1, 1, 1)
    return conv


def _fuse_block(block: Block) -> None:
    for name, branch in (('ls1', block.mixer), ('ls2', block.ffn)):
        scale = getattr(block, name)
        last = _last_linear(branch)
        if isinstance(scale, LayerScale) and last:
            for layer in last:
                _scale(layer, scale.gamma)
            setattr(block, name, nn.Identity())


def _last_linear(branch: nn.Module) -> list[nn.Module]:
    """Return the layers whose outputs sum up to the branch's; none if it ends otherwise."""
    if isinstance(branch, (MLP, ConvFFN)):
        return [branch.reduce]
    if isinstance(branch, GLMix):
        slots = [branch.slot_attention] if branch.has_global else []
        if not all(isinstance(attention, SelfAttention) for attention in slots):
            return []
        local = [branch.local[-1]] if branch.local is not None else []
        # Dispatching is linear in the slots, so their projection may scale them.
        return [*local, *(attention.proj for attention in slots)]
    return [branch.proj] if hasattr(branch, 'proj') else []


def _scale(layer: nn.Module, gamma: Tensor) -> None:
    layer.weight *= gamma.view(-1, *[1] * (layer.weight.dim() - 1))
    layer.bias *= gamma
