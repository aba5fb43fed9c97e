"""Times RoIAlign as it is served on CPUs beside torchvision's kernel; run it on an idle machine.

    python tests/compat/roi_align_speed.py

Prints the table of docs/speed.md: both in alternating rounds, medians, and the largest difference.
"""

import os
import time
from statistics import median

import torch

import glmix_mm  # noqa: F401  (serves mmcv's ops)
from glmix_mm.compat.ops import roi_align

ROUNDS = 5
CASES = [  # channels, height and width of 4 maps; boxes, their largest side (px of the map), bins
    (96, 104, 136, 2048, 27, 7),
    (256, 200, 304, 1024, 30, 7),
    (256, 100, 152, 256, 29, 14),
]


def make_case(channels: int, height: int, width: int, count: int, side: float, bins: int):
    """Return channels_last maps, boxes, the gradient of the output, and where results go."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(4, channels, height, width, generator=generator)
    sizes = 1 + torch.rand(count, 2, generator=generator) * side
    centres = torch.rand(count, 2, generator=generator) * torch.tensor([width, height])
    images = torch.randint(0, 4, (count, 1), generator=generator).float()
    rois = torch.cat([images, centres - sizes / 2, centres + sizes / 2], dim=1)
    gradient = torch.randn(count, channels, bins, bins, generator=generator)
    maps = maps.contiguous(memory_format=torch.channels_last)
    return maps, rois, gradient, torch.zeros_like(gradient), torch.zeros(maps.shape)


def main() -> None:
    """Time both forms and print a row per case."""
    print(f'{torch.get_num_threads()} threads, torch {torch.__version__}; ms, medians of {ROUNDS}')
    print('maps (4 images), boxes, bins: torchvision forward / backward, rows, difference')
    for case in CASES:
        maps, rois, gradient, output, map_gradient = make_case(*case)
        bins = case[-1]
        settings = (bins, bins, 1.0, 0, 1, True)
        times = {}
        results = {}
        for _ in range(ROUNDS):
            for form in ('torchvision', 'rows'):
                os.environ[roi_align.SWITCH] = form
                start = time.perf_counter()
                roi_align.roi_align_forward(maps, rois, output, None, None, *settings)
                middle = time.perf_counter()
                roi_align.roi_align_backward(gradient, rois, None, None, map_gradient, *settings)
                end = time.perf_counter()
                times.setdefault(form, []).append((middle - start, end - middle))
                results[form] = output.clone(), map_gradient.clone()
        row = [
            f'{1000 * median(forward):.0f} / {1000 * median(backward):.0f}'
            for forward, backward in (zip(*times[form], strict=True) for form in times)
        ]
        difference = max(
            ((own - other).abs().max() / other.abs().max()).item()
            for own, other in zip(results['rows'], results['torchvision'], strict=True)
        )
        print(f'{case}: {"; ".join(row)}; {difference:.1e}', flush=True)


if __name__ == '__main__':
    main()
