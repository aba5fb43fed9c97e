"""How time and memory grow with the area of the image: exponents fitted to measurements."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Growth:
    """How a quantity y grows with the area of the image.

    Attributes:
        exponent: p of y = c area^p, by least squares of the logarithms.
        last: the same between the two largest areas alone.
        equal_area: the area, px, at which the two terms of y = a area + b area^2 are equal; the
            quadratic term is the larger one from there on. None if b is not positive. Fitted by
            least squares of the relative errors.
    """

    exponent: float
    last: float
    equal_area: float | None


def growth(areas: Sequence[float], values: Sequence[float]) -> Growth:
    """Fit how positive values grow with the areas (px) that they were measured at.

    Raises:
        ValueError: there are fewer than two different areas.
    """
    if len(set(areas)) < 2:
        raise ValueError(f'two areas at least are needed, not {sorted(set(areas))}')
    order = np.argsort(areas)
    x, y = np.asarray(areas, float)[order], np.asarray(values, float)[order]
    largest = x == x[-1]
    before = x == x[~largest][-1]
    exponent = np.polyfit(np.log(x), np.log(y), 1)[0]
    step = np.log(y[largest]).mean() - np.log(y[before]).mean()
    last = step / np.log(x[largest][0] / x[before][0])
    unit = x.max()  # keeps the two columns alike in size
    linear, quadratic = np.linalg.lstsq(
        np.stack([x / unit / y, (x / unit) ** 2 / y], 1), np.ones_like(y), rcond=None
    )[0]
    equal = float(unit * linear / quadratic) if quadratic > 0 and linear > 0 else None
    return Growth(float(exponent), float(last), equal)
