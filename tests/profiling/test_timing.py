"""Timing in turn: the order of the calls, sleeps of known length, failures; and exponents."""

import time

import numpy as np
import pytest

from glmix_mm.errors import UserError
from glmix_mm.profiling.report import exponents
from glmix_mm.profiling.timing import MAX_CALLS, time_in_turn


def recorder(calls, name, fails_at=None):
    def function():
        calls.append(name)
        if calls.count(name) == fails_at:
            raise RuntimeError(f'{name} is\n out of memory')

    return function


def test_rounds_alternate():
    calls = []
    functions = [recorder(calls, name) for name in 'abc']
    timings = time_in_turn(functions, 3, min_seconds=0)
    assert ''.join(calls) == 'aabbcc' + 3 * 'abc'
    assert [len(timing.seconds) for timing in timings] == [3, 3, 3]


@pytest.mark.parametrize(
    ('fails_at', 'order'),
    [(1, 'aabcc' + 3 * 'ac'), (4, 'aabbcc' + 'abc' + 'abc' + 'ac')],
)
def test_a_failure_leaves_the_others_alone(fails_at, order):
    calls = []
    functions = [recorder(calls, 'a'), recorder(calls, 'b', fails_at), recorder(calls, 'c')]
    first, second, third = time_in_turn(functions, 3, min_seconds=0)
    assert ''.join(calls) == order
    assert second.error == 'RuntimeError: b is out of memory' and second.median is None
    assert not first.error and len(first.seconds) == len(third.seconds) == 3


def test_a_users_mistake_keeps_its_own_words():
    def function():
        raise UserError('the image is too small')

    assert time_in_turn([function], 2)[0].error == 'the image is too small'


def test_sleeps():
    functions = [lambda: time.sleep(0.02), lambda: time.sleep(0.08)]
    short, long = time_in_turn(functions, 3, min_seconds=0)
    assert min(short.seconds) >= 0.02 and min(long.seconds) >= 0.08
    assert short.median < 0.08


def test_quick_functions_are_repeated_and_each_call_counts():
    calls = []

    def function():
        calls.append(1)
        time.sleep(0.01)

    (timing,) = time_in_turn([function], 1, min_seconds=0.05)
    assert 3 <= len(calls) <= 2 + 5
    assert 0.01 <= timing.median < 0.03
    calls.clear()
    time_in_turn([lambda: calls.append(1)], 1)
    assert len(calls) == 2 + MAX_CALLS


def test_exponents_of_a_power():
    areas = np.array([0.25e6, 0.5e6, 1e6, 2e6, 4e6])
    assert exponents(areas, 3e-5 * areas**1.37) == pytest.approx((1.37, 1.37))


def test_last_exponent_of_a_polynomial():
    areas = [4e6, 0.25e6, 1e6, 2e6]  # in any order
    values = [3e-6 * a + 2e-12 * a * a for a in areas]
    fitted, last = exponents(areas, values)
    # Of 14 and 44, in units of 1: 3 * 2 + 2 * 4 and 3 * 4 + 2 * 16.
    assert last == pytest.approx(np.log2(44 / 14))
    slope = np.cov(np.log(areas), np.log(values), ddof=0)[0, 1] / np.var(np.log(areas))
    assert fitted == pytest.approx(slope)
