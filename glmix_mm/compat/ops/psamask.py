"""The attention maps of PSANet (Zhao et al. 2018, section 3.3) from each pixel's mask.

Each pixel has a mask that is centred on it. What lies over the map is its attention: to the
pixels from which it collects, or to which it distributes. The rest of the mask is left out, and
pixels that the mask does not reach have 0.
"""

from collections.abc import Iterator

from torch import Tensor

COLLECT = 0  # mmcv's number


def psamask_forward(
    input: Tensor,
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Write the attention to ``output``.

    Args:
        input: [N, h_mask * w_mask, H, W], the mask of each pixel.
        output: [N, H * W, H, W], zeros; written. If collecting, the first H * W are the pixels
            that are attended to and the last the pixels that own the masks; else the reverse.
        psa_type: 0 to collect, 1 to distribute.
        num_: N.
        h_feature: H.
        w_feature: W.
        h_mask: rows of a mask.
        w_mask: columns of a mask.
        half_h_mask: the row of a mask that is over its pixel.
        half_w_mask: the column.
    """
    masks = input.reshape(num_, h_mask, w_mask, h_feature, w_feature)
    # Rows first, [N, H, w_mask, H, W], then columns.
    rows = masks.new_zeros(num_, h_feature, w_mask, h_feature, w_feature)
    for pixel, mask, map_ in _overlaps(h_feature, h_mask, half_h_mask):
        rows[:, map_, :, pixel] = masks[:, mask, :, pixel]
    attention = _attention(output, psa_type, h_feature, w_feature)
    for pixel, mask, map_ in _overlaps(w_feature, w_mask, half_w_mask):
        attention[:, :, map_, :, pixel] = rows[:, :, mask, :, pixel]


def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Write the gradient of the masks to ``grad_input``, zeros of their shape."""
    attention = _attention(grad_output, psa_type, h_feature, w_feature)
    rows = attention.new_zeros(num_, h_feature, w_mask, h_feature, w_feature)
    for pixel, mask, map_ in _overlaps(w_feature, w_mask, half_w_mask):
        rows[:, :, mask, :, pixel] = attention[:, :, map_, :, pixel]
    masks = grad_input.view(num_, h_mask, w_mask, h_feature, w_feature)
    for pixel, mask, map_ in _overlaps(h_feature, h_mask, half_h_mask):
        masks[:, mask, :, pixel] = rows[:, map_, :, pixel]


def _attention(maps: Tensor, psa_type: int, height: int, width: int) -> Tensor:
    """Return a view [N, H, W, H, W]: pixels attended to, then the pixels that own the masks."""
    view = maps.view(len(maps), height, width, height, width)
    return view if psa_type == COLLECT else view.permute(0, 3, 4, 1, 2)


def _overlaps(size: int, length: int, half: int) -> Iterator[tuple[int, slice, slice]]:
    """Yield each pixel of an axis, and the parts of its mask and of the map that overlap."""
    for pixel in range(size):
        start, end = max(0, half - pixel), min(length, size + half - pixel)
        shift = pixel - half
        yield pixel, slice(start, end), slice(start + shift, end + shift)
