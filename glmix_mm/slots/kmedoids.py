"""k-medoids: a few of many things that represent all of them."""

import numpy as np


def k_medoids(distances: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose the things whose distances to all others, each to its nearest one, sum up to least.

    Partitioning around medoids (Kaufman and Rousseeuw, 1990): the medoids are chosen one by one,
    then the best exchange of one of them for another thing is made until none helps. Nothing in it
    is random. The result is best except for exchanges of several at once.

    Args:
        distances: between all pairs, (n, n), symmetric.
        count: number of medoids, at most n.

    Returns:
        The medoids' indices, ascending, (count,), and of each thing the place of its medoid among
        them, (n,).
    """
    medoids: list[int] = []
    for _ in range(count):
        costs = _costs(distances, medoids)
        costs[medoids] = np.inf
        medoids.append(int(costs.argmin()))
    best = distances[:, medoids].min(1).sum()
    while True:
        exchanges = np.stack(
            [_costs(distances, medoids[:i] + medoids[i + 1 :]) for i in range(count)]
        )
        leaving, coming = np.unravel_index(exchanges.argmin(), exchanges.shape)
        # Without the margin, rounding could make it go round for ever.
        if exchanges[leaving, coming] >= best - 1e-9 * abs(best):
            break
        best = exchanges[leaving, coming]
        medoids[leaving] = int(coming)
    chosen = np.sort(medoids)
    return chosen, distances[:, chosen].argmin(1)


def _costs(distances: np.ndarray, medoids: list[int]) -> np.ndarray:
    """Return the sum of distances that each thing (n,) would leave as one more medoid."""
    nearest = distances[:, medoids].min(1, initial=np.inf)
    return np.minimum(nearest[:, None], distances).sum(0)
