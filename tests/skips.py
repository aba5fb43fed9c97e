"""Says at the end of a run which tests were skipped and why; in CI only known reasons may be."""

import os
import re
from collections import Counter

import pytest

# What a machine or a stack may lack. Anything else hides tests that should have run.
KNOWN = re.compile(
    r"""
    needs\ (CUDA|a\ CUDA\ device|a\ GPU)
    | torch\ finds\ no\ CUDA\ device
    | two\ processes\ need\ two\ GPUs\ or\ none
    | (no|a)\ compiled\ mmcv\ is\ installed
    | only\ an\ mmcv\ compiled\ for\ CUDA\ has\ this
    | GLMIX_REAL_DATA\ names\ no\ folder
    | the\ pages\ are\ built\ with\ Python\ 3\.11\ or\ newer
    | this\ torch's\ own\ counter\ does\ not\ know\ attention\ on\ CPUs
    | not\ a\ git\ checkout
    | nicegui,\ playwright\ or\ Chromium\ is\ not\ installed
    | Open\ MPI\ is\ not\ installed
    | Slurm\ is\ not\ installed,\ or\ this\ is\ not\ root
    """,
    re.VERBOSE,
)


def skipped_by_reason(config: pytest.Config) -> Counter:
    """Return how many tests, or files of tests, were skipped for each reason."""
    reporter = config.pluginmanager.get_plugin('terminalreporter')
    reports = reporter.stats.get('skipped', []) if reporter else []
    reasons = [report.longrepr[2] for report in reports if isinstance(report.longrepr, tuple)]
    return Counter(reason.removeprefix('Skipped: ') for reason in reasons)


def unknown(config: pytest.Config) -> set[str]:
    """Return the reasons that must not be, where GLMIX_CI is set."""
    if not os.environ.get('GLMIX_CI'):
        return set()
    return {reason for reason in skipped_by_reason(config) if not KNOWN.fullmatch(reason)}


def pytest_sessionfinish(session, exitstatus):
    if exitstatus == pytest.ExitCode.OK and unknown(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    reasons = skipped_by_reason(config)
    if reasons:
        terminalreporter.section('skipped, by reason')
    for reason, count in reasons.most_common():
        not_known = ' (NOT A KNOWN REASON: see tests/skips.py)' if reason in unknown(config) else ''
        terminalreporter.line(f'{count:5} {reason}{not_known}')
