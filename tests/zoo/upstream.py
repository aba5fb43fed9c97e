"""Runs the unit tests of mmcv, mmdet, mmseg or mmpretrain against this platform.

    python tests/zoo/upstream.py FOLDER [PATTERN]   # of a checkout, at the installed version

Each folder of tests has a process; one that has a report is not run again. PATTERN chooses among
the folders. The installed packages are tested, not the checkout's. A failure that
upstream_failures.txt does not name ends the command with an error.
"""

import argparse
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from importlib import import_module
from itertools import groupby
from pathlib import Path

PACKAGES = ('mmcv', 'mmdet', 'mmseg', 'mmpretrain')
MMCV_PARTS = ('test_ops', 'test_cnn', 'test_transforms')  # the rest is images and videos
EXPECTED = Path(__file__).with_name('upstream_failures.txt')
# mmdet's tests look for the configs beside the package, where only a checkout has them.
CONFTEST = """
from pathlib import Path
import mmdet.testing._utils as utils
utils._get_config_directory = lambda: str(Path(__file__).parent / 'configs')
"""
FOLDER = Path(os.environ.get('GLMIX_ZOO', 'work_dirs/zoo')).resolve() / 'upstream'


def copy_tests(source: Path, package: str) -> Path:
    """Copy a checkout's tests beside the installed configs: no module of the checkout is found."""
    target = FOLDER / package
    if not target.is_dir():
        shutil.copytree(source / 'tests', target / 'tests')
        configs = Path(import_module(package).__file__).parent / '.mim' / 'configs'
        if configs.is_dir():
            (target / 'configs').symlink_to(configs)
        if package == 'mmdet':
            (target / 'conftest.py').write_text(CONFTEST)
    return target


def test_files(folder: Path, package: str) -> list[str]:
    """Return the test files to run, relative to the folder, those of one folder together."""
    parts = MMCV_PARTS if package == 'mmcv' else ('.',)
    files = [path for part in parts for path in (folder / 'tests' / part).rglob('test_*.py')]
    names = [path.relative_to(folder).as_posix() for path in files]
    return sorted(names, key=os.path.split)


def tested(folder: Path, files: list[str], report: Path) -> bool:
    """Run files of tests in a process, unless there is a report; return whether there is one."""
    command = [sys.executable, '-m', 'pytest', '-p', 'glmix_mm', '-p', 'no:cacheprovider', '-q']
    command += ['--continue-on-collection-errors', '--tb=short', f'--junitxml={report}', *files]
    if not report.is_file():
        with open(report.with_suffix('.log'), 'w') as out:
            subprocess.run(command, cwd=folder, stdout=out, stderr=out)
    return report.is_file()


def outcomes(report: Path) -> dict[str, tuple[str, str]]:
    """Return each test's outcome and message."""
    found = {}
    for case in ET.parse(report).iter('testcase'):
        name = f'{case.get("classname")}.{case.get("name")}'.removeprefix('tests.').lstrip('.')
        outcome, message = 'passed', ''
        for child in case:
            if child.tag in ('failure', 'error', 'skipped'):
                outcome = 'skipped' if child.tag == 'skipped' else 'failed'
                message = ' '.join((child.get('message') or '').split())[:300]
        found[name] = (outcome, message)
    return found


def expected_failures(package: str) -> list[str]:
    """Return the patterns of names of a package's tests that may fail."""
    lines = EXPECTED.read_text().splitlines()
    return [words[1] for words in map(str.split, lines) if words[:1] == [package]]


def run_package(source: Path, package: str, only: str) -> tuple[dict[str, tuple[str, str]], str]:
    """Run a checkout's tests; where a folder's process ends early, file by file.

    Returns:
        The outcomes of all tests that have a report, with those of earlier runs; and how many of
        the files have one.
    """
    folder = copy_tests(source, package)
    files, ran, results = test_files(folder, package), 0, {}
    for place, group in groupby(files, os.path.dirname):
        own = {file: folder / f'{file.replace("/", ".")}.xml' for file in group}
        report = folder / f'{place.replace("/", ".")}.xml'
        if re.search(only, place) and not tested(folder, [*own], report):
            for file, single in own.items():
                if not tested(folder, [file], single):
                    results[file] = ('failed', 'the process ended early')
        reports = [path for path in (report, *own.values()) if path.is_file()]
        for path in reports:
            results |= outcomes(path)
        ran += len(own) if reports else 0
        print(f'{package} {place}: {len(own)} files', flush=True)
    return results, f'{ran} of {len(files)}'


def main() -> int:
    """Run a checkout's tests, and print what passed, failed and was skipped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('source', type=Path, help='folder of a checkout')
    parser.add_argument('only', nargs='?', default='', help='regular expression of folders')
    options = parser.parse_args()
    source = options.source.resolve()
    package = next((name for name in PACKAGES if (source / name).is_dir()), None)
    if package is None or not (source / 'tests').is_dir():
        parser.error(f'{source}: no checkout of {", ".join(PACKAGES)} with its tests')
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    results, files = run_package(source, package, options.only)
    patterns = expected_failures(package)
    failed = {name: message for name, (outcome, message) in results.items() if outcome == 'failed'}
    new = [name for name in failed if not any(fnmatch.fnmatch(name, p) for p in patterns)]
    for name in new:
        print(f'NOT EXPECTED TO FAIL: {name}: {failed[name]}')
    counts = Counter(outcome for outcome, _ in results.values())
    counts = {key: counts[key] for key in ('passed', 'failed', 'skipped')}
    version = import_module(package).__version__
    row = dict(version=version, files=files, **counts)
    (FOLDER / f'{package}.json').write_text(json.dumps(row))
    print(f'{package}: {row}')
    return 1 if new else 0


if __name__ == '__main__':
    sys.exit(main())
