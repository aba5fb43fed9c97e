"""DilateFormer (IEEE TMM 2023, arXiv 2302.01791): blocks, stages, variants, from top to bottom."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmengine.registry import MODELS
from torch import Tensor, nn

from ..errors import UserError
from .arch import resolve_arch
from .backbone import PyramidBackbone, make_stages
from .ffn import MLP
from .layers import BatchNorm2d, Block, GlobalAttention, LayerNorm2d, downsample, init_linear
from .ops.dilated_attention import attend_to_neighbours
from .pretrained import Rename

DILATIONS = (1, 2, 3)
FFN_RATIO = 4
STEM_CHANNELS = (16, 32, 64)
MIXERS = ('msda', 'mhsa')


@dataclass(frozen=True)
class DilateFormerArch:
    """What sets one DilateFormer apart from another.

    Attributes:
        channels: channels of each stage.
        depths: blocks of each stage.
        heads: heads of each stage; in MSDA a multiple of 3, one share for each dilation.
        mixers: what the blocks of each stage mix by: 'msda', multi-scale dilated attention, or
            'mhsa', attention to all positions.
    """

    channels: Sequence[int]
    depths: Sequence[int]
    heads: Sequence[int] = (3, 6, 12, 24)
    mixers: Sequence[str] = ('msda', 'msda', 'mhsa', 'mhsa')


# Variants of the paper (its Table 1).
_TINY = DilateFormerArch(channels=(72, 144, 288, 576), depths=(2, 2, 6, 2))
ARCHS = {
    'tiny': _TINY,
    'small': replace(_TINY, depths=(3, 5, 8, 3)),
    'base': DilateFormerArch(channels=(96, 192, 384, 768), depths=(4, 8, 10, 3)),
}


@MODELS.register_module()
class DilateFormer(PyramidBackbone):
    """DilateFormer as a backbone for dense prediction, for images of any size.

    The authors released classification code only. As with GLNet here, each output has an extra
    layer norm when it leaves the backbone, and the classifier is dropped.

    Args:
        arch: 'tiny', 'small', 'base', or a dict of :class:`DilateFormerArch`'s attributes.
        drop_path_rate: drop rate of the last block's residual branches; it rises linearly from 0.
        **kwargs: ``out_indices``, ``output_norms``, ``norm_eval``, ``frozen_stages``, ``with_cp``
            and ``init_cfg``, see :class:`glmix_mm.models.backbone.PyramidBackbone`.

    Raises:
        UserError: an unknown variant or an option out of its range.
    """

    def __init__(self, arch: str | dict = 'tiny', drop_path_rate: float = 0.0, **kwargs):
        settings = dilateformer_settings(arch)

        def block(stage: int, place: int, rate: float) -> Block:
            dim, heads = settings.channels[stage], settings.heads[stage]
            return make_block(settings.mixers[stage], dim, dim // heads, rate)

        stages = make_stages(
            settings.channels, settings.depths, drop_path_rate, embed=embed, block=block
        )
        super().__init__(
            stages, settings.channels, output_norm=LayerNorm2d, renames=RENAMES, **kwargs
        )
        self.arch = arch
        self.apply(_init_like_authors)


class MultiScaleDilatedAttention(nn.Module):
    """Self-attention to the 3 x 3 neighbours at spacings of 1, 2 and 3 (section 3.2).

    Args:
        dim: channels C.
        head_dim: channels of a head; C is a multiple of three times it.
    """

    def __init__(self, dim: int, head_dim: int):
        super().__init__()
        self.head_dim = head_dim
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, block_input: Tensor | None = None) -> Tensor:
        """Map (N, C, h, w) to (N, C, h, w); ``block_input`` is not used."""
        qkv = self.qkv(x.permute(0, 2, 3, 1))  # (N, h, w, 3C)
        out = attend_to_neighbours(qkv, self.head_dim, DILATIONS)
        return self.proj(out).permute(0, 3, 1, 2)


def dilateformer_settings(arch: str | dict) -> DilateFormerArch:
    """Return the settings of a variant's name or of a dict of your own.

    Raises:
        UserError: see :func:`glmix_mm.models.arch.resolve_arch`; or an attribute's value is
            unknown.
    """
    settings = resolve_arch('DilateFormer', arch, ARCHS, ('channels', 'depths', 'heads', 'mixers'))
    for dim, heads, mixer in zip(settings.channels, settings.heads, settings.mixers, strict=True):
        if mixer not in MIXERS:
            raise UserError(f'DilateFormer: mixer {mixer!r} is none of {", ".join(MIXERS)}')
        if dim % heads:
            raise UserError(f'DilateFormer: {dim} channels are not a multiple of {heads} heads')
        if mixer == 'msda' and heads % len(DILATIONS):
            raise UserError(
                f'DilateFormer: {heads} heads are not a multiple of the {len(DILATIONS)} dilations'
            )
    return settings


def make_block(mixer: str, dim: int, head_dim: int, drop_path: float) -> Block:
    """Return one block, with dilated ('msda') or global ('mhsa') attention."""
    attention = MultiScaleDilatedAttention if mixer == 'msda' else GlobalAttention
    mlp = MLP(dim, FFN_RATIO * dim)
    return Block(dim, attention(dim, head_dim), mlp, cpe_ks=3, drop_path=drop_path)


def embed(previous: int | None, dim: int) -> nn.Sequential:
    """Return the stem of stride 4 (``previous`` is None) or a downsampling of stride 2."""
    if previous is not None:
        return downsample(previous, dim)
    layers, channels = [], 3
    for out, stride in zip(STEM_CHANNELS, (1, 2, 1), strict=True):
        conv = nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
        layers += [conv, BatchNorm2d(out), nn.GELU()]
        channels = out
    return nn.Sequential(*layers, nn.Conv2d(channels, dim, 3, stride=2, padding=1, bias=False))


# Keys of the official checkpoints -> keys of this module, applied in turn.
RENAMES = (
    Rename(r'^patch_embed\.proj\.', 'stages.0.embed.'),
    # A stage's downsampling is stored with the stage before it.
    *(Rename(rf'^stages\.{i}\.downsample\.proj\.', f'stages.{i + 1}.embed.') for i in range(3)),
    Rename(r'\.pos_embed\.', '.cpe.'),
    Rename(r'\.attn\.', '.mixer.'),
    Rename(r'\.mlp\.fc1\.', '.ffn.expand.'),
    Rename(r'\.mlp\.fc2\.', '.ffn.reduce.'),
)


def _init_like_authors(module: nn.Module) -> None:
    # Their dilated attention computes qkv by a convolution, which keeps PyTorch's default.
    init_linear(module)
    if isinstance(module, MultiScaleDilatedAttention):
        module.qkv.reset_parameters()
