"""GLNet (NeurIPS 2024, arXiv 2411.14429): blocks, stages, variants, from top to bottom."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmengine.registry import MODELS
from torch import nn

from ..errors import UserError
from .arch import resolve_arch
from .backbone import PyramidBackbone, make_stages
from .ffn import MLP, ConvFFN
from .glmix import GLMix
from .layers import (
    BatchNorm2d,
    Block,
    GlobalAttention,
    LayerNorm2d,
    SelfAttention,
    downsample,
    init_linear,
)
from .pretrained import Rename
from .slot_grid import SlotGrid, in_positions

HEAD_DIM = 32
MIXERS = ('glmix', 'mha', 'mha_nchw', 'glmix.mha_nchw')
GLMIX_SWITCHES = ('slot_init', 'branches', 'clustering', 'slot_attention', 'local_kernel_size')
STRIDES = (4, 8, 16, 32)


@dataclass(frozen=True)
class GLNetArch:
    """What sets one GLNet apart from another.

    Attributes:
        channels: channels of each stage.
        depths: blocks of each stage.
        ffn_ratio: hidden channels of the feed-forward networks over their channels.
        mixers: what the blocks of each stage mix by: 'glmix'; 'mha', a plain transformer block;
            'mha_nchw', attention with the GLMix block's position encoding and FFN; or
            'glmix.mha_nchw', both in turn.
        patch_embed: 'ovlp' (overlapping convolutions) or 'non_ovlp'.
        cpe_ks: kernel size of the conditional position encoding, 0 for none.
        mlp_dw: whether the FFNs of 'glmix' and 'mha_nchw' hold a depthwise convolution.
        layer_scale: initial layer scale, None for none.
        slot_init: initial slots, 'ada_avgpool' or 'param' (learned).
        branches, clustering, slot_attention, local_kernel_size: the paper's ablations of the GLMix
            block, see :class:`glmix_mm.models.glmix.GLMix`.
    """

    channels: Sequence[int]
    depths: Sequence[int]
    ffn_ratio: int
    mixers: Sequence[str]
    patch_embed: str
    cpe_ks: int
    mlp_dw: bool
    layer_scale: float | None = None
    slot_init: str = 'ada_avgpool'
    branches: str = 'both'
    clustering: str = 'soft'
    slot_attention: bool = True
    local_kernel_size: int = 5


# Variants of the paper (its Table 8 and the authors' model card), then this project's own.
_STL = GLNetArch(
    channels=(96, 192, 384, 768),
    depths=(2, 2, 6, 2),
    ffn_ratio=4,
    mixers=('glmix', 'glmix', 'glmix', 'mha'),
    patch_embed='non_ovlp',
    cpe_ks=0,
    mlp_dw=False,
)
_4G = GLNetArch(
    channels=(64, 128, 256, 512),
    depths=(4, 4, 18, 4),
    ffn_ratio=3,
    mixers=('glmix', 'glmix', 'glmix.mha_nchw', 'mha_nchw'),
    patch_embed='ovlp',
    cpe_ks=3,
    mlp_dw=True,
)
ARCHS = {
    'stl': _STL,
    'stl_paramslot': replace(_STL, slot_init='param'),
    '4g': _4G,
    '9g': replace(_4G, channels=(96, 192, 384, 768)),
    '16g': replace(_4G, channels=(128, 256, 512, 1024), layer_scale=1e-4),
    # For tests and the demo: every kind of block of 4G in about a million parameters.
    'nano': replace(_4G, channels=(32, 64, 128, 192), depths=(1, 1, 2, 1)),
}


@MODELS.register_module()
class GLNet(PyramidBackbone):
    """GLNet as a backbone for dense prediction.

    The authors released classification code only. As in their earlier BiFormer, each output
    has an extra layer norm when it leaves the backbone, and the classifier is dropped.

    Args:
        arch: 'stl', 'stl_paramslot', '4g', '9g', '16g', 'nano', or a dict of
            :class:`GLNetArch`'s attributes, such as ``dict(base='stl', clustering='kmeans')``.
        drop_path_rate: drop rate of the last block's residual branches; it rises linearly from 0.
        slot_grid: the grid of the slots, see :attr:`slot_grid`. Slots have no parameters unless
            they are learned, so a trained model accepts another grid.
        **kwargs: ``out_indices``, ``output_norms``, ``norm_eval``, ``frozen_stages``, ``with_cp``
            and ``init_cfg``, see :class:`glmix_mm.models.backbone.PyramidBackbone`.

    Raises:
        UserError: an unknown variant or an option out of its range.
    """

    def __init__(
        self,
        arch: str | dict = '4g',
        drop_path_rate: float = 0.0,
        slot_grid: SlotGrid = (8, 8),
        **kwargs,
    ):
        settings = glnet_settings(arch)

        def block(stage: int, place: int, rate: float) -> Block:
            turns = settings.mixers[stage].split('.')
            mixer, grid = turns[place % len(turns)], in_positions(slot_grid, STRIDES[stage])
            return make_block(mixer, settings.channels[stage], settings, grid, rate)

        embed = EMBEDS[settings.patch_embed]
        stages = make_stages(
            settings.channels, settings.depths, drop_path_rate, embed=embed, block=block
        )
        super().__init__(
            stages,
            settings.channels,
            output_norm=LayerNorm2d,
            renames=STEM_RENAMES[settings.patch_embed] + RENAMES,
            **kwargs,
        )
        self.arch = arch
        self._slot_grid = slot_grid
        self.apply(_init_like_authors)

    @property
    def slot_grid(self) -> SlotGrid:
        """The grid of the initial slots of every GLMix block; may be set at any time.

        (rows, columns). ``dict(slots=S)`` means about S slots in a grid of the image's aspect
        ratio. ``dict(cell=P)`` means a slot per P x P pixels or so, so their number grows with the
        image's area. Setting anything else raises a ``UserError``, and so does any change for
        learned slots, whose number is fixed.
        """
        return self._slot_grid

    @slot_grid.setter
    def slot_grid(self, grid: SlotGrid) -> None:
        stages = [in_positions(grid, stride) for stride in STRIDES]
        for stage, own in zip(self.stages, stages, strict=False):  # the last may be left out
            for block in stage.blocks:
                if isinstance(block.mixer, GLMix):
                    block.mixer.set_slot_grid(own)
        self._slot_grid = grid


def glnet_settings(arch: str | dict) -> GLNetArch:
    """Return the settings of a variant's name or of a dict of your own.

    Raises:
        UserError: see :func:`glmix_mm.models.arch.resolve_arch`; or an attribute's value is
            unknown.
    """
    settings = resolve_arch('GLNet', arch, ARCHS, ('channels', 'depths', 'mixers'))
    if settings.patch_embed not in EMBEDS:
        raise UserError(
            f'GLNet: patch_embed={settings.patch_embed!r} is none of {", ".join(EMBEDS)}'
        )
    for mixer in settings.mixers:
        if mixer not in MIXERS:
            raise UserError(f'GLNet: mixer {mixer!r} is none of {", ".join(MIXERS)}')
    for dim in settings.channels:
        if dim % HEAD_DIM:
            raise UserError(
                f'GLNet: {dim} channels are not a multiple of {HEAD_DIM}, the head size'
            )
    return settings


def make_block(
    mixer: str, dim: int, arch: GLNetArch, slot_grid: SlotGrid, drop_path: float
) -> Block:
    """Return one block: 'glmix', 'mha_nchw' (attention in the same frame) or 'mha' (plain)."""
    hidden_dim = arch.ffn_ratio * dim
    common = dict(layer_scale=arch.layer_scale, drop_path=drop_path)
    if mixer == 'mha':
        return Block(dim, GlobalAttention(dim, HEAD_DIM), MLP(dim, hidden_dim), **common)
    if mixer == 'glmix':
        switches = {name: getattr(arch, name) for name in GLMIX_SWITCHES}
        mix = GLMix(dim, HEAD_DIM, slot_grid, **switches)
    else:
        mix = GlobalAttention(dim, HEAD_DIM)
    ffn = ConvFFN(dim, hidden_dim, depthwise=arch.mlp_dw)
    return Block(dim, mix, ffn, cpe_ks=arch.cpe_ks, **common)


def overlapping_embed(previous: int | None, dim: int) -> nn.Sequential:
    """Return a stem of stride 4 (``previous`` is None) or a stage's downsampling of stride 2."""
    if previous is not None:
        return downsample(previous, dim)
    return nn.Sequential(
        nn.Conv2d(3, dim // 2, 3, stride=2, padding=1),
        BatchNorm2d(dim // 2),
        nn.GELU(),
        nn.Conv2d(dim // 2, dim, 3, stride=2, padding=1),
        BatchNorm2d(dim),
    )


def patch_embed(previous: int | None, dim: int) -> nn.Sequential:
    """Return the same for patches that do not overlap, as in Swin's layout."""
    if previous is not None:
        return nn.Sequential(BatchNorm2d(previous), nn.Conv2d(previous, dim, 2, stride=2))
    return nn.Sequential(nn.Conv2d(3, dim, 4, stride=4), BatchNorm2d(dim))


EMBEDS = {'ovlp': overlapping_embed, 'non_ovlp': patch_embed}

# Keys of the official checkpoints -> keys of this module, applied in turn.
STEM_RENAMES = {
    'ovlp': (
        Rename(r'^downsample_layers\.0\.1\.', 'stages.0.embed.0.'),
        Rename(r'^downsample_layers\.0\.2\.', 'stages.0.embed.1.'),
        Rename(r'^downsample_layers\.0\.4\.', 'stages.0.embed.3.'),
        Rename(r'^downsample_layers\.0\.5\.', 'stages.0.embed.4.'),
    ),
    'non_ovlp': (),
}
RENAMES = (
    Rename(r'^downsample_layers\.(\d)\.', r'stages.\1.embed.'),
    Rename(r'\.pos_conv\.', '.cpe.'),
    Rename(r'\.(slot_scale|init_slots)$', r'.mixer.\1'),
    Rename(r'\.relation_mha\.in_proj_', '.mixer.slot_attention.qkv.'),
    Rename(r'\.relation_mha\.out_proj\.', '.mixer.slot_attention.proj.'),
    Rename(r'\.mha_op\.in_proj_', '.mixer.qkv.'),
    Rename(r'\.mha_op\.out_proj\.', '.mixer.proj.'),
    Rename(r'\.feature_conv\.', '.mixer.local.'),
    Rename(r'\.mlp\.0\.', '.ffn.expand.'),
    Rename(r'\.mlp\.1\.', '.ffn.depthwise.'),
    Rename(r'\.mlp\.[23]\.', '.ffn.reduce.'),  # 2 where there are no convolutions
)


def _init_like_authors(module: nn.Module) -> None:
    # Convolutions keep PyTorch's default; qkv is initialised as nn.MultiheadAttention's in_proj.
    init_linear(module)
    if isinstance(module, SelfAttention):
        nn.init.xavier_uniform_(module.qkv.weight)
