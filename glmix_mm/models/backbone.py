"""What every backbone here shares: outputs and their norms, freezing, checkpointing, weights."""

from collections.abc import Callable, Sequence

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..errors import UserError
from .fuse import fuse_stages
from .pretrained import Rename, load_pretrained

MIN_SIZE = 32  # pixels: the stride of the last stage


class Stage(nn.Module):
    """A patch embedding, which lowers the resolution, and the blocks that follow it."""

    def __init__(self, embed: nn.Module, blocks: Sequence[nn.Module]):
        super().__init__()
        self.embed = embed
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, recompute: bool = False) -> Tensor:
        """Map (N, C, h, w) to (N, C', h', w').

        With ``recompute``, the blocks' inner activations are not kept for the backward pass but
        computed again in it.
        """
        x = self.embed(x)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
        return x


def make_stages(
    channels: Sequence[int],
    depths: Sequence[int],
    drop_path_rate: float,
    embed: Callable[[int | None, int], nn.Module],
    block: Callable[[int, int, float], nn.Module],
) -> list[Stage]:
    """Build the stages of a backbone.

    Args:
        channels: channels of each stage.
        depths: blocks of each stage.
        drop_path_rate: drop path rate of the last block; it rises linearly from 0.
        embed: makes a patch embedding from the channels before (None: it is the stem) and after it.
        block: makes a block from its stage, its place in the stage and its drop path rate.

    Raises:
        UserError: the rate is not from 0 to below 1.
    """
    if not 0 <= drop_path_rate < 1:
        raise UserError(f'drop_path_rate={drop_path_rate} must be from 0 to below 1')
    count, done, previous, stages = sum(depths), 0, None, []
    for stage, (dim, depth) in enumerate(zip(channels, depths, strict=True)):
        rates = [drop_path_rate * (done + j) / max(count - 1, 1) for j in range(depth)]
        blocks = [block(stage, j, rate) for j, rate in enumerate(rates)]
        stages.append(Stage(embed(previous, dim), blocks))
        previous, done = dim, done + depth
    return stages


class PyramidBackbone(BaseModule):
    """A backbone of four stages at strides 4, 8, 16 and 32 with one norm per output.

    A family states its stages and the renames of its official checkpoints; the rest is here.

    Args:
        stages: the four stages.
        channels: channels of each stage's output.
        output_norm: makes the norm of an output from its number of channels. Only the output is
            normalised: the next stage receives the map without it.
        out_indices: which stages to output. Stages after the last of them are not kept.
        output_norms: whether the outputs are normalised. Without norms, the outputs are the stages'
            own maps, which a classifier needs.
        norm_eval: whether batch norms use, and keep, their running statistics in training mode.
        frozen_stages: how much to freeze: -1 nothing, 0 the stem, k the first k stages.
        with_cp: whether to recompute the blocks' activations in the backward pass (gradient
            checkpointing), trading time for memory.
        renames: how the official checkpoints' keys become this module's.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` or None.

    Raises:
        UserError: an option is out of its range.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        channels: Sequence[int],
        output_norm,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        output_norms: bool = True,
        norm_eval: bool = False,
        frozen_stages: int = -1,
        with_cp: bool = False,
        renames: Sequence[Rename] = (),
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg=init_cfg)
        count = len(stages)
        indices = tuple(out_indices)
        if (
            not indices
            or sorted(set(indices)) != list(indices)
            or not 0 <= indices[0] <= indices[-1] < count
        ):
            raise UserError(
                f'{self.name}: out_indices={out_indices} must be ascending stage numbers '
                f'from 0 to {count - 1}'
            )
        if not -1 <= frozen_stages <= count:
            raise UserError(
                f'{self.name}: frozen_stages={frozen_stages} must be from -1 (nothing) to {count}'
            )
        self.out_indices = indices
        self.out_channels = tuple(channels[i] for i in indices)
        self.norm_eval = norm_eval
        self.frozen_stages = frozen_stages
        self.with_cp = with_cp
        self.renames = tuple(renames)
        self.fused = False
        self.stages = nn.ModuleList(stages[: indices[-1] + 1])
        for i in indices:
            norm = output_norm(channels[i]) if output_norms else nn.Identity()
            self.add_module(f'norm{i}', norm)
        self._freeze()

    @property
    def name(self) -> str:
        """Return the family's name, as error messages give it."""
        return type(self).__name__

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs, normalised by default, of the stages in ``out_indices``.

        Args:
            x: images (N, 3, H, W), normalised; H and W are any sizes from 32 px.

        Returns:
            One map (N, C_i, ceil(H / s), ceil(W / s)) per output, s its stride (floor instead of
            ceil where patch embeddings do not overlap).

        Raises:
            UserError: the images are smaller than 32 px.
        """
        maps = self.forward_stages(x)
        return tuple(getattr(self, f'norm{i}')(maps[i]) for i in self.out_indices)

    def forward_stages(self, x: Tensor) -> list[Tensor]:
        """Return each stage's own output, before the output norms, (N, C_i, h_i, w_i)."""
        # Not by min(): exported, that would depend on which side is the shorter.
        if any(size < MIN_SIZE for size in x.shape[2:]):
            raise UserError(
                f'{self.name}: images of {x.shape[2]} x {x.shape[3]} px are too small: height and '
                f'width must be at least {MIN_SIZE} px'
            )
        x = x.contiguous(memory_format=torch.channels_last)
        recompute = self.with_cp and self.training and torch.is_grad_enabled()
        maps = []
        for stage in self.stages:
            x = stage(x, recompute)
            maps.append(x)
        return maps

    def init_weights(self) -> None:
        """Load the pretrained weights that ``init_cfg`` names; without it, keep the initial ones.

        Raises:
            UserError: the checkpoint is missing, unsafe, or does not fit (see
                :func:`glmix_mm.models.pretrained.load_pretrained`).
        """
        config = self.init_cfg
        if config:
            kind = config.get('type') if isinstance(config, dict) else config
            if kind != 'Pretrained' or not config.get('checkpoint'):
                raise UserError(
                    f"{self.name}: init_cfg must be dict(type='Pretrained', checkpoint=...) or "
                    f'None, not {config!r}'
                )
            report = load_pretrained(self, config['checkpoint'], self.renames, config.get('prefix'))
            print_log(report, logger='current')
        self._is_init = True

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return a parameter's layer, for learning rates that decay layer by layer.

        As in mmpretrain's Swin, the stem is layer 0 and each block is a layer of its own. A
        downsampling belongs to the block before it. The output norms, which pretrained weights
        lack, belong to what follows the backbone.

        Args:
            param_name: the parameter's name in the whole model.
            prefix: the backbone's name in the model, with its dot.

        Returns:
            The parameter's layer, from 0, and the number of layers.
        """
        depths = [len(stage.blocks) for stage in self.stages]
        last = sum(depths) + 1
        parts = param_name.removeprefix(prefix).split('.')
        if not param_name.startswith(prefix) or parts[0] != 'stages':
            return last, last + 1
        before = sum(depths[: int(parts[1])])
        return (before + int(parts[3]) + 1 if parts[2] == 'blocks' else before), last + 1

    def fuse(self) -> 'PyramidBackbone':
        """Fold layers, in place, that inference can combine; outputs only change by rounding.

        Batch norms and layer scales go into the layers beside them. A fused backbone cannot be
        trained or saved, because its weights fit no other model.

        Raises:
            UserError: the backbone is in training mode.
        """
        if self.training:
            raise UserError(f'{self.name}: fuse() is for inference; call eval() first')
        if not self.fused:
            fuse_stages(self.stages)
            self.fused = True
            self.register_state_dict_pre_hook(_refuse_to_save)
        return self

    def train(self, mode: bool = True) -> 'PyramidBackbone':
        """Switch to training or evaluation mode, frozen parts and ``norm_eval`` respected.

        Raises:
            UserError: training mode is asked of a fused backbone.
        """
        if mode and self.fused:
            raise UserError(f'{self.name} is fused for inference; build another one to train')
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _freeze(self) -> None:
        frozen = [self.stages[0].embed] if self.frozen_stages >= 0 else []
        for i in range(min(self.frozen_stages, len(self.stages))):
            frozen.append(self.stages[i])
            if i in self.out_indices:
                frozen.append(getattr(self, f'norm{i}'))
        for module in frozen:
            module.eval()
            module.requires_grad_(False)


def _refuse_to_save(backbone: PyramidBackbone, *args) -> None:
    raise UserError(f'{backbone.name} is fused for inference; save the checkpoint it came from')
