"""The three families as the tests see them: variants, small stand-ins, literal twins."""

from collections.abc import Callable
from dataclasses import asdict
from typing import NamedTuple

import golden
import torch
from plain_dilateformer import PlainDilateFormer
from plain_fcvit import PlainFCViT
from plain_glnet import PlainGLNet
from torch import nn
from torch.linalg import vector_norm as norm

from glmix_mm.models import DilateFormer, FCViT, GLNet
from glmix_mm.models.dilateformer import dilateformer_settings
from glmix_mm.models.fcvit import fcvit_settings
from glmix_mm.models.glnet import ARCHS as GLNET_ARCHS
from glmix_mm.models.glnet import glnet_settings
from glmix_mm.models.pretrained import rename


class Family(NamedTuple):
    """A family: its class, its official variants, small ones with every kind of block, its twin."""

    cls: type[nn.Module]
    official: tuple[str, ...]
    small: dict[str, dict]
    twin: Callable[[str | dict], nn.Module]


def dilateformer_twin(arch):
    settings = dilateformer_settings(arch)
    return PlainDilateFormer(settings.channels, settings.depths, settings.heads)


def fcvit_twin(arch):
    settings = fcvit_settings(arch)
    return PlainFCViT(settings.channels, settings.depths, settings.ffn_ratios)


GLNET_4G, GLNET_STL, GLNET_PARAM = (
    asdict(GLNET_ARCHS[name]) for name in ('4g', 'stl', 'stl_paramslot')
)
CHANNELS = (32, 32, 64, 64)
FAMILIES = {
    'glnet': Family(
        GLNet,
        ('stl', 'stl_paramslot', '4g', '9g', '16g'),
        dict(
            ovlp=dict(GLNET_4G, channels=CHANNELS, depths=(1, 1, 2, 1), layer_scale=0.5),
            stl=dict(GLNET_STL, channels=CHANNELS, depths=(1, 1, 1, 1)),
            param=dict(GLNET_PARAM, channels=CHANNELS, depths=(1, 1, 1, 1)),
        ),
        lambda arch: PlainGLNet(glnet_settings(arch)),
    ),
    'dilateformer': Family(
        DilateFormer,
        ('tiny', 'small', 'base'),
        dict(small=dict(channels=(24, 48, 48, 64), depths=(1, 2, 1, 1), heads=(3, 6, 4, 4))),
        dilateformer_twin,
    ),
    'fcvit': Family(
        FCViT,
        ('tiny', 'b12', 'b24', 'b48'),
        dict(small=dict(channels=(16, 32, 64, 64), depths=(1, 1, 2, 1), ffn_ratios=(2, 4, 2, 2))),
        fcvit_twin,
    ),
}
OFFICIAL = [(name, variant) for name, family in FAMILIES.items() for variant in family.official]
SMALL = [(name, kind) for name, family in FAMILIES.items() for kind in family.small]
# The kind that each property common to all kinds of a family is tested on.
FIRST = [(name, next(iter(family.small))) for name, family in FAMILIES.items()]


def build_small(name, kind, **options):
    """Build a small stand-in of a family."""
    family = FAMILIES[name]
    return family.cls(family.small[kind], **options)


def randomised(model, seed=0):
    """Give every parameter and statistic a value that matters, float64."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double()
    for name, tensor in model.state_dict().items():
        if 'num_batches' in name:
            continue
        noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        if name.endswith('running_var'):
            tensor.copy_(1 + noise.abs())
        elif name.endswith('slot_scale'):
            tensor.copy_(4 + noise)
        elif tensor.dim() > 1:
            tensor.copy_(noise / tensor[0].numel() ** 0.5)
        else:
            tensor.copy_(noise * 0.3 + (not name.endswith(('bias', 'running_mean'))))
    return model


def twin_of(name, model):
    """Return the literal implementation with the model's weights, and its keys' names in ours."""
    twin = FAMILIES[name].twin(model.arch).double()
    ours, theirs = model.state_dict(), twin.state_dict()
    renamed = {key: rename(key, model.renames) for key in theirs}
    twin.load_state_dict(
        {key: ours[own].reshape(theirs[key].shape) for key, own in renamed.items()}
    )
    return twin, renamed


def pretrained(name, variant, folder, dtype):
    """Return a variant with the weights of an official checkpoint, loaded the public way."""
    path = folder / f'{name}_{variant}.pth'
    torch.save({'model': golden.official_state(f'{name}_{variant}')}, path)
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    model = FAMILIES[name].cls(variant, init_cfg=init_cfg).to(dtype)
    model.init_weights()
    path.unlink()  # up to 840 MB, which pytest would keep
    return model.eval()


def directional_error(model, x, seed):
    """Relative error of a derivative along a random direction of all parameters and the input."""
    generator = torch.Generator().manual_seed(seed)

    def noise(t):
        return torch.randn(t.shape, generator=generator, dtype=torch.float64)

    x = x.clone().requires_grad_()
    leaves = [x, *model.parameters()]
    direction = [noise(leaf).mul_(norm(leaf, 1).item() / leaf.numel()) for leaf in leaves]
    length = sum(norm(d).item() ** 2 for d in direction) ** 0.5
    maps = model(x)
    weights = [noise(m) for m in maps]

    def value(maps):
        return sum((m * w).sum() for m, w in zip(maps, weights, strict=True))

    grads = torch.autograd.grad(value(maps), leaves)
    pairs = zip(grads, direction, strict=True)
    analytic = sum(torch.dot(g.reshape(-1), d.reshape(-1)).item() for g, d in pairs) / length
    step = 1e-5  # central differences: an error of order step^2, and rounding over step
    values = []
    with torch.no_grad():
        for move in (-step, 2 * step, -step):
            for leaf, d in zip(leaves, direction, strict=True):
                leaf.add_(d, alpha=move / length)
            values += [value(model(x)).item()] if len(values) < 2 else []
    numeric = (values[1] - values[0]) / (2 * step)
    return abs(analytic - numeric) / max(abs(numeric), 1e-3)
