"""Work on a map in chunks of rows, so that no hidden map, several times as wide, is held whole.

Fresh memory is dear on the CPU: allocators return maps of tens of MiB to the system, and the next
layer faults every page in again. A chunk's memory is small enough to be kept, and to stay in cache.
The plain form is the function itself, on the whole map.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

from .switch import is_plain

# Of a chunk's hidden map: 8 MiB in float32; a third is 1.4 x as slow, three times 2 x.
ELEMENTS = 2**21


def chunks_pay(x: Tensor) -> bool:
    """Tell whether to work on ``x`` in chunks: on the CPU, unless operations are recorded.

    A traced graph would hold the loop of one size, and a counter would count rows twice that two
    chunks share.
    """
    recorded = (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or _get_current_dispatch_mode() is not None
    )
    return x.device.type == 'cpu' and not (recorded or is_plain())


def row_chunks(length: int, elements: int) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each chunk of ``length`` rows of so many hidden elements."""
    step = max(1, ELEMENTS // max(1, elements))
    for start in range(0, length, step):
        yield start, min(length, start + step)


def in_chunks(
    function: Callable[[Tensor], Tensor], x: Tensor, hidden_dim: int, halo: int
) -> Tensor:
    """Return ``function(x)``, computed image by image and chunk by chunk where x is large.

    Args:
        function: maps (1, C, any, w) to a map of the same height and width, by operations that
            reach ``halo`` rows up and down at most and pad with zeros.
        x: a map (N, C, h, w).
        hidden_dim: channels of the widest map within ``function``.
        halo: rows that a chunk needs of its neighbours.
    """
    n, _, height, width = x.shape
    if n * height * width * hidden_dim <= ELEMENTS:
        return function(x)
    images = []
    for image in x.split(1):
        parts = []
        for start, end in row_chunks(height, width * hidden_dim):
            top = max(0, start - halo)
            part = function(image[:, :, top : end + halo])
            parts.append(part[:, :, start - top : end - top])
        images.append(torch.cat(parts, 2))
    return torch.cat(images)
