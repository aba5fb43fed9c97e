"""Hostile and broken files come to what is documented: handled, or refused in one line."""

import faulthandler
import gc

import pytest
from hostile_bench import Bench, outcome_of
from hostile_files import LIMIT, all_cases

pytestmark = pytest.mark.slow

CASES = all_cases()
GROUPS = sorted({case.group for case in CASES})


@pytest.fixture(scope='module')
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp('hostile'))


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('group', GROUPS)
def test_each_case_comes_to_its_outcome(group, bench):
    wrong = []
    for case in CASES:
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


def test_there_are_many_cases():
    assert len(CASES) >= 200
    assert len({(case.group, case.what, case.way) for case in CASES}) == len(CASES)
