"""GLMix: convolution on the fine grid, attention on a few semantic slots (arXiv 2411.14429).

The numbers in the comments are the steps of a block: initial slots (1), clustering (4, 5),
attention among the slots (6), dispatch (7) and the local branch (8); the residual frame around
them (2, 3, 9, 10) is :class:`glmix_mm.models.layers.Block`.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from .layers import SelfAttention, to_map, to_tokens
from .ops.cosine_logits import EPS, cosine_logits
from .ops.depthwise import DepthwiseConv2d
from .ops.pointwise import Pointwise
from .ops.portable import adaptive_avg_pool2d
from .ops.precision import at_least_float32
from .slot_grid import SlotGrid, checked_grid, grid_of

BRANCHES = ('both', 'local', 'global')
CLUSTERINGS = ('soft', 'kmeans', 'static')
SLOT_INITS = ('ada_avgpool', 'param')
KMEANS_ITERATIONS = 3


class GLMix(nn.Module):
    """Mixes the positions of a map locally by convolution and globally through semantic slots.

    Args:
        dim: channels C.
        head_dim: channels of a head of the slot attention.
        slot_grid: rows and columns of the initial slots, whose product is the number of slots S; or
            what they follow from the map's size, see :func:`glmix_mm.models.slot_grid.grid_of`.
        slot_init: initial slots: 'ada_avgpool' pools them from the block's input, 'param' learns
            them.
        branches: 'both', or 'local' or 'global' alone (ablation).
        clustering: 'soft' (the paper's); 'kmeans', hard assignments by cosine similarity, for
            clustering and dispatch alike; or 'static', the learned initial slots themselves,
            without re-assignment (ablations).
        slot_attention: whether the slots attend to each other (ablation).
        local_kernel_size: size of the depthwise convolution of the local branch.

    Raises:
        UserError: an option has an unknown value, or the options contradict each other.
    """

    def __init__(
        self,
        dim: int,
        head_dim: int = 32,
        slot_grid: SlotGrid = (8, 8),
        slot_init: str = 'ada_avgpool',
        branches: str = 'both',
        clustering: str = 'soft',
        slot_attention: bool = True,
        local_kernel_size: int = 5,
    ):
        super().__init__()
        _check('branches', branches, BRANCHES)
        _check('clustering', clustering, CLUSTERINGS)
        _check('slot_init', slot_init, SLOT_INITS)
        if clustering == 'static' and slot_init != 'param':
            raise UserError(
                "GLMix: clustering='static' has no pooled slots to use: set slot_init='param'"
            )
        _check_kernel(local_kernel_size)
        self.slot_grid = checked_grid(slot_grid, fixed=slot_init == 'param')
        self.clustering = clustering
        self.local = self.slots = self.slot_scale = self.init_slots = None
        if branches != 'global':
            self.local = nn.Sequential(
                Pointwise(dim, dim),
                DepthwiseConv2d(dim, local_kernel_size),
                Pointwise(dim, dim),
            )
        self.has_global = branches != 'local'
        if not self.has_global:
            return
        if clustering != 'kmeans':
            self.slot_scale = nn.Parameter(torch.tensor(dim**-0.5))
        if slot_init == 'param':
            self.init_slots = nn.Parameter(torch.empty(1, math.prod(self.slot_grid), dim))
            nn.init.normal_(self.init_slots, std=0.02)
        self.slot_attention = SelfAttention(dim, head_dim) if slot_attention else nn.Identity()

    def forward(self, x: Tensor, block_input: Tensor) -> Tensor:
        """Mix a normalised map.

        Args:
            x: the normalised map, (N, C, h, w).
            block_input: the map that entered the block, (N, C, h, w); initial slots are its means.

        Returns:
            The sum of the local and the global branch, (N, C, h, w).
        """
        local = None if self.local is None else self.local(x)  # (8)
        return self.mix_globally(x, block_input, local) if self.has_global else local

    def mix_globally(self, x: Tensor, block_input: Tensor, local: Tensor | None = None) -> Tensor:
        """Cluster into slots, let them attend, dispatch them to the map, add the local branch."""
        tokens = to_tokens(x)  # (N, L, C)
        slots = self.initial_slots(block_input)  # (N, S, C)
        if self.clustering == 'kmeans':
            slots, assignment = kmeans(tokens, slots)
            gather = assignment
        else:
            logits = self.slot_logits(tokens, slots)  # (4)
            gather = logits.softmax(2).to(tokens.dtype)
            if self.clustering == 'soft':  # (5)
                slots = torch.bmm(logits.softmax(1).to(tokens.dtype).transpose(1, 2), tokens)
        slots = self.slot_attention(slots)  # (6)
        if local is None:
            mixed = torch.bmm(gather, slots)  # (7)
        else:
            mixed = torch.baddbmm(to_tokens(local), gather, slots)
        return to_map(mixed, *x.shape[2:])

    def initial_slots(self, block_input: Tensor) -> Tensor:
        """Return the slots before clustering, (N, S, C), row-major over the slot grid (1)."""
        if self.init_slots is not None:
            return self.init_slots.expand(len(block_input), -1, -1)
        grid = grid_of(self.slot_grid, *block_input.shape[2:])
        return to_tokens(adaptive_avg_pool2d(block_input, grid))

    def set_slot_grid(self, grid: SlotGrid) -> None:
        """Change the grid of the initial slots.

        Raises:
            UserError: it is not a grid, or its number of cells is not that of the learned slots.
        """
        grid = checked_grid(grid, fixed=self.init_slots is not None)
        if self.init_slots is not None and math.prod(grid) != self.init_slots.shape[1]:
            raise UserError(
                f'GLMix: slot_grid={grid}: the slots of this model are learned, and there are '
                f"{self.init_slots.shape[1]} of them; pooled slots (slot_init='ada_avgpool') can "
                'change their number'
            )
        self.slot_grid = grid

    def slot_logits(self, tokens: Tensor, slots: Tensor) -> Tensor:
        """Return the scaled cosine similarity of tokens and slots, (N, L, S)."""
        return cosine_logits(tokens, slots, self.slot_scale)

    def assignment(self, x: Tensor, block_input: Tensor) -> Tensor:
        """Return each position's shares of the slots, by which they are dispatched to it (7).

        This is for inspection: ``forward`` takes the same arguments and does not call it.

        Returns:
            (N, S, h, w), in float32 or above; over the slots, the shares sum to 1.
        """
        tokens, slots = to_tokens(x), self.initial_slots(block_input)
        if self.clustering == 'kmeans':
            _, shares = kmeans(tokens, slots)
        else:
            shares = self.slot_logits(tokens, slots).softmax(2)
        return to_map(at_least_float32(shares), *x.shape[2:])


def kmeans(tokens: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
    """Cluster tokens (N, L, C) by cosine similarity, from the given slots (N, S, C).

    Returns:
        The clusters' means (N, S, C), where an empty cluster keeps its slot, and the one-hot
        assignment (N, L, S). Gradients pass through the means alone.
    """
    for _ in range(KMEANS_ITERATIONS):
        # In float32, for EPS is 0 in float16, where a zero slot would attract all.
        directions = F.normalize(at_least_float32(slots), dim=2, eps=EPS).to(tokens.dtype)
        similarity = torch.bmm(tokens, directions.transpose(1, 2))
        assignment = F.one_hot(similarity.argmax(2), slots.shape[1]).to(tokens.dtype)
        size = assignment.sum(1).unsqueeze(2)  # (N, S, 1)
        mean = torch.bmm(assignment.transpose(1, 2), tokens) / size.clamp_min(1)
        slots = torch.where(size > 0, mean, slots)
    return slots, assignment


def _check(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f'GLMix: {option}={value!r} is none of {", ".join(map(repr, allowed))}')


def _check_kernel(size: int) -> None:
    if not isinstance(size, int) or size < 1 or size % 2 == 0:
        raise UserError(f'GLMix: local_kernel_size={size!r} is not an odd number above 0')
