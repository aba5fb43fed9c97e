"""How many slots a GLMix block starts from, and in what grid: fixed, or after the map's size.

Initial slots are the means of the cells of a grid over the map and have no parameters, so the grid
may change from call to call.
"""

import math
from collections.abc import Mapping

from ..errors import UserError

# (rows, columns), dict(slots=number) or dict(cell=side)
SlotGrid = tuple[int, int] | dict[str, float]


def grid_of(grid: SlotGrid, height: int, width: int) -> tuple[int, int]:
    """Return the rows and columns of the initial slots of a map.

    Args:
        grid: (rows, columns), the same for every map. ``dict(slots=S)`` means about S slots in a
            grid of the map's aspect ratio, and ``dict(cell=P)`` a slot per P x P positions or so.
            There is at least one row and one column.
        height: of the map, positions.
        width: the same.
    """
    if not isinstance(grid, Mapping):
        return grid
    if 'cell' in grid:
        return _rounded(height / grid['cell']), _rounded(width / grid['cell'])
    rows = _rounded(math.sqrt(grid['slots'] * height / width))
    return rows, _rounded(grid['slots'] / rows)


def in_positions(grid: SlotGrid, stride: int) -> SlotGrid:
    """Return a grid whose cells are stated in pixels as one stated in positions of a stage.

    Args:
        grid: as :func:`grid_of` takes it, except for a cell's side in pixels.
        stride: pixels from a position to the next.

    Raises:
        UserError: it is no grid.
    """
    grid = checked_grid(grid)
    return dict(cell=grid['cell'] / stride) if 'cell' in grid else grid


def checked_grid(grid: SlotGrid, fixed: bool = False) -> SlotGrid:
    """Return a grid, a list as a tuple.

    Args:
        grid: what should be one.
        fixed: whether it must state rows and columns, as learned slots need.

    Raises:
        UserError: it is none.
    """
    if isinstance(grid, Mapping):
        if not fixed and _is_rule(grid):
            return dict(grid)
    elif isinstance(grid, (tuple, list)) and len(grid) == 2 and all(map(_is_count, grid)):
        return tuple(grid)
    ways = '(rows, columns), whole numbers above 0'
    if fixed:
        ways += ', as the slots are learned and their number is fixed'
    else:
        ways += ', or dict(slots=number), or dict(cell=pixels)'
    raise UserError(f'GLMix: slot_grid={grid!r}: expected {ways}')


def _is_rule(grid: Mapping) -> bool:
    if list(grid) not in (['slots'], ['cell']):
        return False
    (value,) = grid.values()
    return isinstance(value, (int, float)) and 0 < value < math.inf


def _is_count(side: object) -> bool:
    return isinstance(side, int) and side > 0


def _rounded(cells: float) -> int:
    return max(1, round(cells))
