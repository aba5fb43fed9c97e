"""Hostile and broken files come to what is documented: handled, or refused in one line."""

import faulthandler
import gc

import pytest
from hostile_bench import Bench, outcome_of
from hostile_files import LIMIT, all_cases

pytestmark = pytest.mark.slow

GROUPS = {'code', 'damage', 'weights', 'records', 'bombs', 'archives', 'strangers'}  # checkpoints
GROUPS |= {'json', 'masks', 'boxes', 'images', 'kinds', 'sizes', 'EXIF', 'label maps'}


@pytest.fixture(scope='module')
def cases():
    return all_cases()


@pytest.fixture(scope='module')
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp('hostile'))


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('group', sorted(GROUPS))
def test_each_case_comes_to_its_outcome(group, cases, bench):
    wrong = []
    for case in cases:
        if case.group != group:
            continue
        # A case that hangs, in C as well, ends the process with a traceback.
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        outcome, message = outcome_of(case, bench)
        faulthandler.cancel_dump_traceback_later()
        if outcome != case.outcome:
            wrong.append(f'{case.what}, {case.way}: {message}')
    gc.collect()
    assert not wrong, '\n'.join(wrong)


def test_there_are_many_cases(cases):
    assert len(cases) >= 200 and {case.group for case in cases} == GROUPS
    assert len({(case.group, case.what, case.way) for case in cases}) == len(cases)
