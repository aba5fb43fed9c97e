"""Compares slot grids on a trained GLNet: what each costs, and how its assignments differ.

Initial slots are pooled and have no parameters, so that a trained backbone runs with any grid. The
first grid is the one that the others are compared with.
"""

import contextlib
import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..config.load_config import load_config
from ..errors import UserError
from ..models.slot_grid import SlotGrid
from ..profiling.flops import count
from ..profiling.memory import peak_bytes
from ..profiling.report import MIB, number
from ..profiling.table import align_columns, giga
from ..profiling.timing import time_in_turn
from ..utils.parsers import slot_grids_parser
from ..utils.pictures import find_images, for_each, read_image, save_png
from .assignments import blocks_of_stages, check_blocks, slot_assignments, slot_statistics
from .draw_slots import load_backbone, prepare_image
from .slot_panel import Tile, arrange, compose, draw_strongest, resized

OF_SLOTS = ('grid', 'slots', 'strongest somewhere', 'sharing a position', 'outputs differ')
COLUMNS = (*OF_SLOTS, 'multiply-adds', 'ms', 'peak MiB')


class Figures(NamedTuple):
    """What one grid comes to on one image.

    Attributes:
        shares: of the block that is looked at, (S, h, w).
        difference: length of the difference of the backbone's outputs to those with the first grid,
            over the length of these, mean of the outputs.
        multiply_adds: of the backbone.
        seconds: it takes; None if it failed.
        peak: bytes that it holds at a time at most, above its weights.
    """

    shares: np.ndarray
    difference: float
    multiply_adds: int
    seconds: float | None
    peak: int


def main(argv: Sequence[str]) -> None:
    """Compare as the command line says: a table and a picture for each image.

    Raises:
        UserError: a mistake in the command line; or, once all other images are done, that some
            could not be used.
    """
    args = slot_grids_parser().parse_args(argv)
    if args.rounds < 1:
        raise UserError(f'--rounds {args.rounds}: must be at least 1')
    grids = {text: parse_grid(text) for text in args.grids}
    paths = find_images(args.images)
    config = load_config(args.config) if args.config else {}
    with contextlib.redirect_stdout(sys.stderr):
        backbone = load_backbone(config, args.arch, args.checkpoint)
    block = max(blocks_of_stages(backbone).values())[-1] if args.block is None else args.block
    check_blocks(backbone, [block])

    def work(path: Path, name: str) -> None:
        image = read_image(path)
        images = prepare_image(image, config)
        figures = compare_grids(backbone, images, grids, block, args.rounds)
        height, width = images.shape[2:]
        title = f'{path.name} at {height} x {width}, block {block}'
        print(title, format_figures(figures), sep='\n')
        target = args.out / f'{name}_block{block}.png'
        save_png(target, draw_grids(image, figures, title))
        print(target, '', sep='\n', flush=True)

    for_each(paths, work)


def parse_grid(text: str) -> SlotGrid:
    """Read a grid as the command line states it: 12x16, 64 or 28px.

    Raises:
        UserError: it is none.
    """
    found = re.fullmatch(r'(\d+)x(\d+)|(\d+)|(\d+)px', text)
    if not found or any(int(part) == 0 for part in found.groups() if part):
        raise UserError(
            f'--grids {text}: expected ROWSxCOLUMNS, SLOTS or PIXELSpx: 12x16, 64, 28px'
        )
    rows, columns, slots, cell = (part and int(part) for part in found.groups())
    if rows is not None:
        return rows, columns
    return dict(slots=slots) if slots else dict(cell=cell)


@torch.no_grad()
def compare_grids(
    backbone: nn.Module, images: Tensor, grids: Mapping[str, SlotGrid], block: int, rounds: int = 3
) -> dict[str, Figures]:
    """Run a backbone in evaluation mode with several slot grids, timed in turn; its own is kept.

    Args:
        backbone: a GLNet.
        images: (1, 3, H, W), normalised.
        grids: by name; outputs are compared with those of the first.
        block: number of the GLMix block to look at.
        rounds: how often each is timed.

    Raises:
        UserError: one is no grid, or the slots are learned.
    """

    def step(grid: SlotGrid) -> Sequence[Tensor]:
        backbone.slot_grid = grid
        return backbone(images)

    own = backbone.slot_grid
    steps = [partial(step, grid) for grid in grids.values()]
    figures, first = {}, None
    try:
        timings = time_in_turn(steps, rounds)
        for name, run, timing in zip(grids, steps, timings, strict=True):
            outputs = run()
            first = first or outputs
            figures[name] = Figures(
                shares=slot_assignments(backbone, images, [block])[block][0].cpu().numpy(),
                difference=_difference(outputs, first),
                multiply_adds=count(backbone, images.shape[2:]).model.multiply_adds,
                seconds=timing.median,
                peak=peak_bytes(run, images.device),
            )
    finally:
        backbone.slot_grid = own
    return figures


def _difference(outputs: Sequence[Tensor], first: Sequence[Tensor]) -> float:
    ratios = [((a - b).norm() / b.norm()).item() for a, b in zip(outputs, first, strict=True)]
    return sum(ratios) / len(ratios)


def format_figures(figures: Mapping[str, Figures]) -> str:
    """Return what the grids come to as a table, a row each."""
    lines = [COLUMNS]
    for name, found in figures.items():
        statistics = slot_statistics(found.shares)
        lines.append(
            [
                name,
                str(len(found.shares)),
                str(statistics.strongest),
                f'{statistics.sharing:.1f}',
                f'{found.difference:.2%}',
                giga(found.multiply_adds),
                '-' if found.seconds is None else number(1000 * found.seconds),
                number(found.peak / MIB),
            ]
        )
    return align_columns(lines)


def draw_grids(image: np.ndarray, figures: Mapping[str, Figures], title: str = '') -> np.ndarray:
    """Draw an image and, for each grid, its map, coloured by each position's strongest slot.

    Args:
        image: RGB, uint8 (H, W, 3).
        figures: of the grids, by name.
        title: stands above the pictures.

    Returns:
        RGB, uint8, about 1800 x 1200 pixels at most.
    """
    columns, size = arrange(*image.shape[:2], count=1 + len(figures))
    tiles = [Tile(resized(image, size), 'image')]
    for name, found in figures.items():
        picture, sizes, _ = draw_strongest(found.shares, size)
        seen = np.count_nonzero(sizes)
        tiles.append(Tile(picture, f'{name}: {seen} of {len(sizes)} slots'))
    return compose(tiles, columns, title)
