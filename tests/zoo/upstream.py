"""Runs the unit tests of mmcv, mmdet, mmseg or mmpretrain against this platform.

    python tests/zoo/upstream.py FOLDER   # of a checkout of one of them, at the installed version

The tests run in batches, a process each; a batch that has run before is not run again. The
installed packages are tested, not the checkout's. A failure that upstream_failures.txt does not
name ends the command with an error.
"""

import argparse
import fnmatch
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from importlib import import_module
from pathlib import Path

PACKAGES = ('mmcv', 'mmdet', 'mmseg', 'mmpretrain')
MMCV_PARTS = ('test_ops', 'test_cnn', 'test_transforms')  # the rest is images and videos
FILES = 12  # of tests in a batch
SECONDS = 1800  # for a batch
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
    """Return the test files to run, relative to the folder."""
    parts = MMCV_PARTS if package == 'mmcv' else ('.',)
    files = [path for part in parts for path in (folder / 'tests' / part).rglob('test_*.py')]
    return sorted(path.relative_to(folder).as_posix() for path in files)


def run_batch(folder: Path, files: list[str], report: Path) -> None:
    """Run files of tests in a process; its report is JUnit's XML."""
    command = [sys.executable, '-m', 'pytest', '-p', 'glmix_mm', '-p', 'no:cacheprovider', '-q']
    command += ['--continue-on-collection-errors', '--tb=short', f'--junitxml={report}', *files]
    log = report.with_suffix('.log')
    with open(log, 'w') as out:
        try:
            subprocess.run(command, cwd=folder, stdout=out, stderr=out, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            out.write(f'\ntook over {SECONDS} s')


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


def run_package(source: Path, package: str) -> dict[str, tuple[str, str]]:
    """Run a checkout's tests; where a batch ends early, file by file."""
    folder = copy_tests(source, package)
    files = test_files(folder, package)
    results = {}
    for start in range(0, len(files), FILES):
        batch = files[start : start + FILES]
        report = folder / f'batch-{start // FILES:02}.xml'
        if not report.is_file():
            run_batch(folder, batch, report)
        parts = [report]
        if not report.is_file():
            parts = [report.with_suffix(f'.{n}.xml') for n in range(len(batch))]
            for file, part in zip(batch, parts, strict=True):
                if not part.is_file():
                    run_batch(folder, [file], part)
        for file, part in zip(batch, parts if len(parts) > 1 else [], strict=False):
            if not part.is_file():
                results[file] = ('failed', 'the process ended early')
        counts = Counter()
        for part in parts:
            if part.is_file():
                found = outcomes(part)
                results.update(found)
                counts.update(outcome for outcome, _ in found.values())
        print(f'{package} {start + len(batch)}/{len(files)} files: {dict(counts)}', flush=True)
    return results


def main() -> int:
    """Run a checkout's tests, and print what passed, failed and was skipped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('source', type=Path, help='folder of a checkout')
    source = parser.parse_args().source.resolve()
    package = next((name for name in PACKAGES if (source / name).is_dir()), None)
    if package is None or not (source / 'tests').is_dir():
        parser.error(f'{source}: no checkout of {", ".join(PACKAGES)} with its tests')
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    results = run_package(source, package)
    patterns = expected_failures(package)
    failed = {name: message for name, (outcome, message) in results.items() if outcome == 'failed'}
    new = [name for name in failed if not any(fnmatch.fnmatch(name, p) for p in patterns)]
    for name in new:
        print(f'NOT EXPECTED TO FAIL: {name}: {failed[name]}')
    counts = Counter(outcome for outcome, _ in results.values())
    counts = {key: counts[key] for key in ('passed', 'failed', 'skipped')}
    version = import_module(package).__version__
    (FOLDER / f'{package}.json').write_text(json.dumps(dict(version=version, **counts)))
    print(f'{package} {version}: ' + ', '.join(f'{n} {key}' for key, n in counts.items()))
    return 1 if new else 0


if __name__ == '__main__':
    sys.exit(main())
