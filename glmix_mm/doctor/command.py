"""Prints the findings, as text or json: what ``glmix doctor`` calls."""

import argparse
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path

from .checks import CHECKS, ERROR, MAIN_JOB, UNKNOWN, Finding, spare_cpu_torch
from .facts import collect

WIDTH = 100


def main(argv: Sequence[str]) -> int:
    """Check, print, and return 1 if the job would fail, else 0."""
    parser = argparse.ArgumentParser(
        description='Check what a job needs and say what to fix. Paste its output in bug reports: '
        'it names no user, host, or environment variable.',
    )
    parser.add_argument('config', nargs='?', default=MAIN_JOB, help=f'of the job ({MAIN_JOB})')
    parser.add_argument('--data-root', help="folder of the job's data set")
    parser.add_argument('--json', action='store_true', help='print json')
    args = parser.parse_args(argv)
    findings = diagnose(collect(args.config, args.data_root))
    print(to_json(findings, args.config) if args.json else to_text(findings, args.config))
    return int(would_fail(findings))


def diagnose(facts: dict) -> list[Finding]:
    """Return every check's finding, with the home folder's name left out."""
    home = str(Path.home())
    findings = []
    for check in CHECKS:
        finding = spare_cpu_torch(facts, check(facts))
        if home != '/':
            finding = Finding(*(text.replace(home, '~') for text in finding))
        findings.append(finding)
    return findings


def would_fail(findings: Sequence[Finding]) -> bool:
    """Tell whether the job would fail: an error, or nothing to say that it would not."""
    return any(finding.verdict in (ERROR, UNKNOWN) for finding in findings)


def to_json(findings: Sequence[Finding], config: str) -> str:
    """Return the findings as json."""
    checks = [finding._asdict() for finding in findings]
    return json.dumps(dict(config=config, would_fail=would_fail(findings), checks=checks), indent=2)


def to_text(findings: Sequence[Finding], config: str) -> str:
    """Return the findings as lines, with the verdict on the job at the end."""
    lines = []
    for finding in findings:
        lines.append(_wrap(f'{finding.verdict:<12}{finding.name:<13}', finding.found))
        if finding.fix:
            head = ' ' * 25 + '-> '
            # A command stays on its line, so that it can be pasted.
            is_command = 'pip ' in finding.fix
            lines.append(head + finding.fix if is_command else _wrap(head, finding.fix))
    errors = sum(finding.verdict == ERROR for finding in findings)
    if would_fail(findings):
        lines.append(f'\nTraining {config} would fail here: {errors} to fix.')
    else:
        lines.append(f'\nTraining {config} can start.')
    return '\n'.join(lines)


def _wrap(head: str, text: str) -> str:
    # Words stay whole, so that paths and commands can be copied.
    indent = ' ' * len(head)
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=head,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
