"""Times mmcv's ops as they are installed, served or compiled.

    python tests/compat/ops_speed.py

Prints rows of docs/ops.md: the CPU time of forward and backward on one thread, the least of five
rounds, and the most memory that both hold. Compiled ops are measured in an environment that has
them (``tests/stacks.sh onedl``).
"""

from collections.abc import Callable
from time import process_time
from timeit import repeat

import torch

import glmix_mm  # noqa: F401  (serves mmcv's ops)
from glmix_mm.profiling.memory import peak_bytes

# isort: split
from mmcv import ops

ROUNDS = 5
MAP = (1, 256, 64, 80)  # of an image of 512 x 640 at stride 8


def cases() -> dict[str, tuple[Callable, list[torch.Tensor]]]:
    """Return each case's op and its tensors."""
    torch.manual_seed(0)
    maps = torch.randn(MAP)
    offset, mask = torch.randn(1, 18, *MAP[2:]), torch.rand(1, 9, *MAP[2:])
    corners = torch.rand(256, 2) * 40
    boxes = torch.cat([torch.zeros(256, 1), corners, corners + 4 + torch.rand(256, 2) * 20], dim=1)
    shifts = torch.randn(256, 2, 7, 7)
    return {
        'DeformConv2d, 256 channels, 64 x 80': (
            ops.DeformConv2d(256, 256, 3, padding=1),
            [maps, offset],
        ),
        'ModulatedDeformConv2d, 256 channels, 64 x 80': (
            ops.ModulatedDeformConv2d(256, 256, 3, padding=1),
            [maps, offset, mask],
        ),
        'CARAFE, 256 channels, 64 x 80 to 128 x 160, 5 x 5': (
            ops.CARAFE(5, 1, 2),
            [maps, torch.rand(1, 25, 128, 160)],
        ),
        'DeformRoIPool, 256 channels, 256 boxes of 4 to 24 px, 7 x 7': (
            lambda maps, shifts: ops.deform_roi_pool(maps, boxes, shifts, (7, 7)),
            [maps, shifts],
        ),
        'PSAMask, map of 49 x 49, masks of 97 x 97': (
            ops.PSAMask('collect', (97, 97)),
            [torch.randn(1, 97 * 97, 49, 49)],
        ),
    }


def main() -> None:
    """Measure each case and print its row."""
    torch.set_num_threads(1)
    for name, (op, tensors) in cases().items():
        leaves = [tensor.requires_grad_() for tensor in tensors]
        output = op(*leaves)
        gradient = torch.randn_like(output)

        def backward(output=output, gradient=gradient):
            output.backward(gradient, retain_graph=True)

        times = [
            1000 * min(repeat(function, timer=process_time, number=1, repeat=ROUNDS))
            for function in (lambda op=op, leaves=leaves: op(*leaves), backward)
        ]
        peak = peak_bytes(lambda op=op, leaves=leaves, to=gradient: op(*leaves).backward(to))
        print(f'| {name} | {times[0]:.0f} / {times[1]:.0f} | {peak / 2**20:.0f} |', flush=True)


if __name__ == '__main__':
    main()
