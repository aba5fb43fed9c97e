"""Multi-scale dilated attention (DilateFormer, arXiv 2302.01791, section 3.2), as one operator.

A position attends to its 3 x 3 neighbours at spacing r; neighbours outside the map are zero keys
and zero values that stay in the softmax. Heads are split evenly among the dilations.

Positions whose rows and columns are equal modulo r form r * r lattices that do not see each other,
and in a lattice the neighbours are adjacent. So a small window of a lattice attends, by one dense
product, to that window and a border of one around it, all other pairs masked. That multiplies 4
times the numbers needed, but as matrix products, and copies keys and values 2.25 times instead of 9
times, for a strip of windows at a time. The backward pass computes the attention again instead of
keeping it; there is no second derivative.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import register_flop_formula

from .precision import no_autocast, sum_dtype
from .switch import exporting, is_plain

NEIGHBOURS = 9
SIDE = 4  # positions of a window's side; 4 was fastest of 2 to 14
# Attention weights computed at a time: on the CPU what stays in its cache, elsewhere far more.
WEIGHTS_AT_A_TIME = {'cpu': 2**18}
WEIGHTS_ELSEWHERE = 2**25


def attend_to_neighbours(qkv: Tensor, head_dim: int, dilations: Sequence[int]) -> Tensor:
    """Compute :func:`dilated_attention` by the form that fits."""
    # Other runtimes do not know the operator.
    by_maps = is_plain() or exporting()
    attend = neighbour_attention if by_maps else dilated_attention
    return attend(qkv, head_dim, dilations)


# Schemas in words: older versions of torch cannot read them off these annotations.
@torch.library.custom_op(
    'glmix_mm::dilated_attention',
    mutates_args=(),
    schema='(Tensor qkv, int head_dim, int[] dilations) -> Tensor',
)
def dilated_attention(qkv: Tensor, head_dim: int, dilations: Sequence[int]) -> Tensor:
    """Attend to the 3 x 3 neighbours at each of several spacings.

    Args:
        qkv: queries, keys and values of every position, (N, h, w, 3C); each of the three has C
            channels, which the dilations share evenly, in this order, in heads.
        head_dim: channels d of a head; C is a multiple of d times the number of dilations.
        dilations: the spacings r.

    Returns:
        (N, h, w, C), of the same type. Sums are taken in float32 where that is half precision.
    """
    with no_autocast(qkv):
        return _attend(qkv, head_dim, dilations)


@torch.library.custom_op(
    'glmix_mm::dilated_attention_backward',
    mutates_args=(),
    schema='(Tensor grad, Tensor qkv, int head_dim, int[] dilations) -> Tensor',
)
def dilated_attention_backward(
    grad: Tensor, qkv: Tensor, head_dim: int, dilations: Sequence[int]
) -> Tensor:
    """Return the gradient of ``qkv`` from that of the result, (N, h, w, C)."""
    with no_autocast(qkv):
        return _attend_backward(grad, qkv, head_dim, dilations)


def _attend(qkv: Tensor, head_dim: int, dilations: Sequence[int]) -> Tensor:
    out = qkv.new_zeros(*qkv.shape[:3], qkv.shape[3] // 3)
    parts, results = _split(qkv, 3, head_dim, dilations), _split(out, 1, head_dim, dilations)
    for r, (q, k, v), (result,) in zip(dilations, parts, results, strict=True):
        mask = window_mask(q, r)
        for strip in window_strips(q, r):
            weights = _weights(strip.windows(q), strip.windows(k, 1), mask)
            strip.add(result, torch.bmm(weights, strip.windows(v, 1)))
    return out


def _attend_backward(grad: Tensor, qkv: Tensor, head_dim: int, dilations: Sequence[int]) -> Tensor:
    out = torch.zeros_like(qkv, memory_format=torch.contiguous_format)
    above, parts, results = (
        _split(x, count, head_dim, dilations) for x, count in ((grad, 1), (qkv, 3), (out, 3))
    )
    for r, (g,), (q, k, v), (dq, dk, dv) in zip(dilations, above, parts, results, strict=True):
        mask = window_mask(q, r)
        for strip in window_strips(q, r):
            query, key = strip.windows(q), strip.windows(k, 1)
            target, value = strip.windows(g), strip.windows(v, 1)
            weights = _weights(query, key, mask)
            strip.add(dv, torch.bmm(weights.transpose(1, 2), target), 1)
            # The derivative of a softmax: weights * (grad - sum of weights * grad).
            logits = torch.bmm(target, value.transpose(1, 2)).mul_(weights)
            logits.addcmul_(weights, logits.sum(2, keepdim=True), value=-1).mul_(_scale(query))
            strip.add(dq, torch.bmm(logits, key))
            strip.add(dk, torch.bmm(logits.transpose(1, 2), query), 1)
    return out


@dilated_attention.register_fake
def _(qkv, head_dim, dilations):
    return qkv.new_empty(*qkv.shape[:3], qkv.shape[3] // 3)


@dilated_attention_backward.register_fake
def _(grad, qkv, head_dim, dilations):
    return torch.empty_like(qkv, memory_format=torch.contiguous_format)


def _keep(ctx, inputs, output):
    qkv, ctx.head_dim, ctx.dilations = inputs
    ctx.save_for_backward(qkv)


def _differentiate(ctx, grad):
    (qkv,) = ctx.saved_tensors
    return dilated_attention_backward(grad, qkv, ctx.head_dim, ctx.dilations), None, None


dilated_attention.register_autograd(_differentiate, setup_context=_keep)


@register_flop_formula(torch.ops.glmix_mm.dilated_attention)
def _flops(qkv_shape, head_dim, dilations, *args, **kwargs) -> int:
    """Count two products of each query with its neighbours, as the paper does."""
    n, h, w, channels = qkv_shape
    return 2 * 2 * NEIGHBOURS * n * h * w * channels // 3


@register_flop_formula(torch.ops.glmix_mm.dilated_attention_backward)
def _backward_flops(grad_shape, qkv_shape, head_dim, dilations, *args, **kwargs) -> int:
    """Count the logits, which are computed again, and two products for each of the forward's."""
    return _flops(qkv_shape, head_dim, dilations) * 5 // 2


class Strip(NamedTuple):
    """Rows of windows, of all lattices of a dilation r, that are computed together.

    Attributes:
        r: the dilation, so that there are r * r lattices.
        side_y, side_x: positions of a window.
        start: first row of the map.
        rows, columns: windows of a lattice, down and across; those at the map's right and lower
            edges may reach beyond it.
    """

    r: int
    side_y: int
    side_x: int
    start: int
    rows: int
    columns: int

    def windows(self, x: Tensor, border: int = 0) -> Tensor:
        """Copy the windows with a border out of a map (N, h, w, heads, d).

        Returns:
            (windows and heads, positions of a window, d), in float32 or above; zeros outside.
        """
        padded = self._empty_strip(x, border)
        inside, rows = self._overlap(x, border)
        padded[inside].copy_(x[:, rows])
        return self._view(padded, border).flatten(6, 7).flatten(0, 5)

    def add(self, x: Tensor, values: Tensor, border: int = 0) -> None:
        """Add windows of values, laid out as ``windows`` returns them, to a map."""
        padded = self._empty_strip(x, border)
        view = self._view(padded, border)
        values = values.view(view.shape)
        # Borders overlap with the next window: piece by piece, no piece overlaps with itself.
        for y in range(0, view.shape[6], self.side_y):
            for x_ in range(0, view.shape[7], self.side_x):
                piece = (..., slice(y, y + self.side_y), slice(x_, x_ + self.side_x), slice(None))
                view[piece].add_(values[piece])
        inside, rows = self._overlap(x, border)
        x[:, rows].add_(padded[inside])

    def _empty_strip(self, x: Tensor, border: int) -> Tensor:
        """Return zeros for the strip's rows of a map, with borders and whole windows."""
        n, _, _, heads, dim = x.shape
        height = (self.rows * self.side_y + 2 * border) * self.r
        width = (self.columns * self.side_x + 2 * border) * self.r
        return x.new_zeros(n, height, width, heads, dim, dtype=sum_dtype(x))

    def _overlap(self, x: Tensor, border: int) -> tuple[tuple[slice, ...], slice]:
        """Return the part of such a strip that is inside the map, and its rows of the map."""
        edge = border * self.r
        top, bottom = self.start - edge, self.start + self.rows * self.side_y * self.r + edge
        rows = slice(max(top, 0), min(bottom, x.shape[1]))
        columns = slice(edge, edge + x.shape[2])
        return (slice(None), slice(rows.start - top, rows.stop - top), columns), rows

    def _view(self, padded: Tensor, border: int) -> Tensor:
        """View a strip as its windows, which overlap by their borders.

        Returns:
            (N, rows, r, columns, r, heads, side_y + 2 border, side_x + 2 border, d).
        """
        n, _, _, heads, dim = padded.shape
        image, row, column, head, channel = padded.stride()
        r, sides = self.r, (self.side_y + 2 * border, self.side_x + 2 * border)
        down, across = self.side_y * r * row, self.side_x * r * column
        return padded.as_strided(
            (n, self.rows, r, self.columns, r, heads, *sides, dim),
            (image, down, row, across, column, head, row * r, column * r, channel),
        )


def window_strips(x: Tensor, r: int) -> Iterator[Strip]:
    """Divide a map (N, h, w, heads, d) into strips for a dilation r."""
    height, width = x.shape[1:3]
    side_y, side_x = window_sides(x, r)
    rows, columns = -(-height // (r * side_y)), -(-width // (r * side_x))
    in_a_row = x.shape[0] * x.shape[3] * columns * r * r
    weights = in_a_row * side_y * side_x * (side_y + 2) * (side_x + 2)
    budget = WEIGHTS_AT_A_TIME.get(x.device.type, WEIGHTS_ELSEWHERE)
    step = max(1, budget // max(1, weights))  # an empty batch has none
    for row in range(0, rows, step):
        yield Strip(r, side_y, side_x, row * side_y * r, min(step, rows - row), columns)


def window_sides(x: Tensor, r: int) -> tuple[int, int]:
    """Return a window's height and width in positions; less than ``SIDE`` for small maps."""
    height, width = (min(SIDE, -(-size // r)) for size in x.shape[1:3])
    return height, width


def window_mask(x: Tensor, r: int) -> Tensor:
    """Return what to add to the logits of a window: -inf for all but the 3 x 3 neighbours.

    Returns:
        (positions of a window, positions of a window with its border), in float32 or above.
    """

    def near(side: int) -> Tensor:
        place = torch.arange(side + 2, device=x.device)
        return (place - place[:side, None] - 1).abs() <= 1

    near_y, near_x = map(near, window_sides(x, r))
    both = torch.kron(near_y, near_x)
    mask = torch.zeros(both.shape, dtype=sum_dtype(x), device=x.device)
    return mask.masked_fill_(~both, float('-inf'))


def _split(
    x: Tensor, parts: int, head_dim: int, dilations: Sequence[int]
) -> list[tuple[Tensor, ...]]:
    """View (N, h, w, parts * C) as the parts (N, h, w, heads, d) of each dilation."""
    groups = x.unflatten(3, (parts, len(dilations), -1, head_dim)).unbind(4)
    return [group.unbind(3) for group in groups]


def _scale(query: Tensor) -> float:
    return query.shape[2] ** -0.5


def _weights(query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
    """Return the attention weights in each window, 0 for all but the 3 x 3 neighbours."""
    return torch.baddbmm(mask, query, key.transpose(1, 2), alpha=_scale(query)).softmax(2)


def neighbour_attention(qkv: Tensor, head_dim: int, dilations: Sequence[int]) -> Tensor:
    """Compute :func:`dilated_attention` from shifted maps, in elementary operations.

    The plain form, which exported models take as well. It holds nine copies of the keys and of the
    values at a time.
    """
    maps = qkv.permute(0, 3, 1, 2).chunk(3, 1)
    groups = zip(dilations, *(map_.chunk(len(dilations), 1) for map_ in maps), strict=True)
    results = []
    for dilation, query, key, value in groups:
        heads = key.shape[1] // head_dim
        query = query.unflatten(1, (heads, head_dim, 1))  # (N, heads, d, 1, h, w)
        keys, values = (
            neighbours(x, dilation).unflatten(1, (heads, head_dim, 9)) for x in (key, value)
        )
        logits = (query * keys).sum(2, keepdim=True) * head_dim**-0.5  # (N, heads, 1, 9, h, w)
        results.append((logits.softmax(3) * values).sum(3).flatten(1, 2))
    return torch.cat(results, 1).permute(0, 2, 3, 1)


def neighbours(x: Tensor, dilation: int) -> Tensor:
    """Gather the 3 x 3 neighbours of each position, row-major, zeros beyond the map's edges.

    Each is a convolution whose kernel has a single 1.

    Args:
        x: (N, C, h, w).
        dilation: their spacing r.

    Returns:
        (N, 9C, h, w), the nine of a channel together.
    """
    dim = x.shape[1]
    kernel = torch.eye(9, dtype=x.dtype, device=x.device).view(9, 1, 3, 3).repeat(dim, 1, 1, 1)
    return F.conv2d(x, kernel, padding=dilation, dilation=dilation, groups=dim)
