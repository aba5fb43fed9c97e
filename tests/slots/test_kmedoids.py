"""k-medoids against brute force."""

from itertools import combinations

import numpy as np
import pytest

from glmix_mm.slots.kmedoids import k_medoids


def distances_of(points):
    return np.linalg.norm(points[:, None] - points[None], axis=2)


def cost(distances, medoids):
    return sum(min(row[m] for m in medoids) for row in distances)


@pytest.mark.parametrize('count', [1, 2, 3, 4])
def test_best_of_all_choices(count):
    points = np.random.default_rng(count).normal(size=(10, 3))
    distances = distances_of(points)
    medoids, nearest = k_medoids(distances, count)
    best = min(cost(distances, choice) for choice in combinations(range(10), count))
    assert cost(distances, medoids) == pytest.approx(best)
    assert sorted(set(medoids)) == medoids.tolist()
    for point, place in enumerate(nearest):
        assert distances[point, medoids[place]] == distances[point, medoids].min()


def test_no_exchange_of_one_helps_and_nothing_is_random():
    distances = distances_of(np.random.default_rng(0).normal(size=(64, 8)))
    medoids, _ = k_medoids(distances, 4)
    least = cost(distances, medoids)
    for place in range(4):
        others = np.delete(medoids, place)
        assert all(cost(distances, [*others, new]) >= least - 1e-9 for new in range(64))
    assert (k_medoids(distances, 4)[0] == medoids).all()


def test_groups_are_found_and_things_alike_end():
    centres = np.repeat([[0, 0], [9, 0], [0, 9]], 5, axis=0)
    points = centres + np.random.default_rng(0).normal(size=(15, 2)) / 10
    medoids, nearest = k_medoids(distances_of(points), 3)
    assert [m // 5 for m in medoids] == [0, 1, 2]
    assert nearest.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert len(set(k_medoids(np.zeros((6, 6)), 4)[0])) == 4
