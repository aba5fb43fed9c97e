"""FCViT (arXiv 2212.12552): blocks, stages, variants, from top to bottom."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..errors import UserError
from .arch import resolve_arch
from .backbone import PyramidBackbone, make_stages
from .ffn import ConvFFN
from .layers import BatchNorm2d, Block, GroupNorm1, downsample, init_linear, to_map, to_tokens
from .ops.depthwise import DepthwiseConv2d
from .ops.head_products import add_by_head, compare_heads
from .ops.precision import at_least_float32, no_autocast, sum_dtype
from .pretrained import Rename

HEADS = 8
CONTEXT_RATIO = 8  # channels over those of the competing context vectors, and of the bottleneck
MIN_BOTTLENECK = 16
KERNEL_SIZE = 11
LAYER_SCALE = 1e-5
EPS = 1e-5


@dataclass(frozen=True)
class FCViTArch:
    """What sets one FCViT apart from another.

    Attributes:
        channels: channels of each stage.
        depths: blocks of each stage.
        ffn_ratios: hidden channels of each stage's feed-forward networks over its channels.
    """

    channels: Sequence[int]
    depths: Sequence[int]
    ffn_ratios: Sequence[int] = (8, 8, 4, 4)


# Variants of the paper (its Table 1).
_B12 = FCViTArch(channels=(64, 128, 320, 512), depths=(2, 2, 6, 2))
ARCHS = {
    'tiny': FCViTArch(channels=(32, 64, 160, 320), depths=(3, 3, 5, 2)),
    'b12': _B12,
    'b24': replace(_B12, depths=(4, 4, 12, 4)),
    'b48': replace(_B12, depths=(8, 8, 24, 8)),
}


@MODELS.register_module()
class FCViT(PyramidBackbone):
    """FCViT as a backbone for dense prediction, as its authors use it: a group norm on each output.

    Args:
        arch: 'tiny', 'b12', 'b24', 'b48', or a dict of :class:`FCViTArch`'s attributes.
        drop_path_rate: drop rate of the last block's residual branches; it rises linearly from 0.
        **kwargs: ``out_indices``, ``output_norms``, ``norm_eval``, ``frozen_stages``, ``with_cp``
            and ``init_cfg``, see :class:`glmix_mm.models.backbone.PyramidBackbone`.

    Raises:
        UserError: an unknown variant or an option out of its range.
    """

    def __init__(self, arch: str | dict = 'b12', drop_path_rate: float = 0.0, **kwargs):
        settings = fcvit_settings(arch)

        def block(stage: int, place: int, rate: float) -> Block:
            dim = settings.channels[stage]
            return make_block(dim, settings.ffn_ratios[stage] * dim, rate)

        stages = make_stages(
            settings.channels, settings.depths, drop_path_rate, embed=embed, block=block
        )
        super().__init__(
            stages, settings.channels, output_norm=GroupNorm1, renames=RENAMES, **kwargs
        )
        self.arch = arch
        self.apply(_init_like_authors)


class GlobalContext(nn.Module):
    """Adds to each position the image's context, as much as the position resembles the image.

    Let u be the mean over positions. Each of 8 heads h compares its channels of a position p with
    those of u. The similarities are standardised over the heads and positions of an image and
    rescaled by head. They weight the context vector. It is computed from u by two linear layers,
    with a competition between them: the elementwise maximum of two halves.

    Args:
        dim: channels C, a multiple of 8.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.rescale_weight = nn.Parameter(torch.ones(HEADS))
        self.rescale_bias = nn.Parameter(torch.zeros(HEADS))
        self.fc1 = nn.Linear(dim, 2 * dim // CONTEXT_RATIO)
        self.fc2 = nn.Linear(dim // CONTEXT_RATIO, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C, h, w), channels_last."""
        tokens = to_tokens(x)  # (N, L, C)
        mean = tokens.mean(1, dtype=sum_dtype(x))  # (N, C)
        similarity = self.similarity(tokens, mean)  # (N, L, heads)
        context = self.fc2(self.fc1(mean.to(x.dtype)).unflatten(1, (2, -1)).amax(1))  # (N, C)
        out = add_by_head(tokens, similarity.to(x), context.to(x))
        return to_map(out, *x.shape[2:])

    def similarity(self, tokens: Tensor, mean: Tensor) -> Tensor:
        """Return each position's rescaled similarity to the mean, (N, L, heads)."""
        with no_autocast(tokens):
            raw = compare_heads(tokens, mean.to(tokens), HEADS)
            raw = at_least_float32(raw) * (mean.shape[1] // HEADS) ** -0.5
            deviation, average = torch.std_mean(raw, (1, 2), keepdim=True)
            standardised = (raw - average) / (deviation + EPS)
            return torch.addcmul(self.rescale_bias, standardised, self.rescale_weight)


class ContextConv(nn.Module):
    """Half of the token mixer: global context, 11 x 11 depthwise conv, bottleneck, GELU."""

    def __init__(self, dim: int):
        super().__init__()
        bottleneck = max(dim // CONTEXT_RATIO, MIN_BOTTLENECK)
        self.context = GlobalContext(dim)
        self.depthwise = DepthwiseConv2d(dim, KERNEL_SIZE)
        self.fc = nn.Sequential(
            nn.Conv2d(dim, bottleneck, 1), nn.GELU(), nn.Conv2d(bottleneck, dim, 1)
        )
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C, h, w)."""
        return self.act(self.fc(self.depthwise(self.context(x))))


class TokenMixer(nn.Sequential):
    """Mixes positions: twice the image's context and a large convolution."""

    def __init__(self, dim: int):
        super().__init__(ContextConv(dim), ContextConv(dim))

    def forward(self, x: Tensor, block_input: Tensor | None = None) -> Tensor:
        """Map (N, C, h, w) to (N, C, h, w); ``block_input`` is not used."""
        return super().forward(x)


def fcvit_settings(arch: str | dict) -> FCViTArch:
    """Return the settings of a variant's name or of a dict of your own.

    Raises:
        UserError: see :func:`glmix_mm.models.arch.resolve_arch`; or an attribute's value is wrong.
    """
    settings = resolve_arch('FCViT', arch, ARCHS, ('channels', 'depths', 'ffn_ratios'))
    for dim in settings.channels:
        if dim % HEADS:
            raise UserError(f'FCViT: {dim} channels are not a multiple of {HEADS}, the heads')
    return settings


def make_block(dim: int, hidden_dim: int, drop_path: float) -> Block:
    """Return one block: token mixer and convolutional FFN, both with layer scales."""
    ffn = ConvFFN(dim, hidden_dim, depthwise=True, residual=False)
    options = dict(layer_scale=LAYER_SCALE, drop_path=drop_path, norm=GroupNorm1)
    return Block(dim, TokenMixer(dim), ffn, **options)


def embed(previous: int | None, dim: int) -> nn.Sequential:
    """Return the stem of stride 4 (``previous`` is None) or a downsampling of stride 2."""
    if previous is not None:
        return downsample(previous, dim)
    return nn.Sequential(nn.Conv2d(3, dim, 7, stride=4, padding=3), BatchNorm2d(dim))


# Keys of the official checkpoints -> keys of this module, applied in turn. Stages and the
# embeddings between them are numbered together, and output norms as the stages.
RENAMES = (
    Rename(r'^patch_embed\.proj\.', 'stages.0.embed.0.'),
    Rename(r'^patch_embed\.norm\.', 'stages.0.embed.1.'),
    *(Rename(rf'^network\.{2 * i - 1}\.proj\.', f'stages.{i}.embed.0.') for i in (1, 2, 3)),
    *(Rename(rf'^network\.{2 * i - 1}\.norm\.', f'stages.{i}.embed.1.') for i in (1, 2, 3)),
    *(Rename(rf'^network\.{2 * i}\.', f'stages.{i}.blocks.') for i in range(4)),
    *(Rename(rf'^norm{2 * i}\.', f'norm{i}.') for i in (1, 2, 3)),
    Rename(r'\.layer_scale_(\d)$', r'.ls\1.gamma'),
    *(Rename(rf'\.token_mixer\.gc{i}\.', f'.mixer.{i - 1}.context.') for i in (1, 2)),
    *(Rename(rf'\.token_mixer\.dw{i}\.', f'.mixer.{i - 1}.depthwise.') for i in (1, 2)),
    *(Rename(rf'\.token_mixer\.fc{i}\.', f'.mixer.{i - 1}.fc.') for i in (1, 2)),
    Rename(r'\.channel_mixer\.fc1\.', '.ffn.expand.'),
    Rename(r'\.channel_mixer\.dwconv\.', '.ffn.depthwise.'),
    Rename(r'\.channel_mixer\.fc2\.', '.ffn.reduce.'),
)


def _init_like_authors(module: nn.Module) -> None:
    init_linear(module)
    if isinstance(module, nn.Conv2d):
        fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
        nn.init.zeros_(module.bias)
