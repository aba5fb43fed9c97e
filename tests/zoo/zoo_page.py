"""Writes docs/zoo.md from the rows of zoo.py and the counts of upstream.py."""

import json
import os
import re
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from upstream import EXPECTED

PAGE = Path(__file__).parents[2] / 'docs' / 'zoo.md'
CAUSES = Path(__file__).with_name('failures.txt')
DISTRIBUTIONS = {'mmdet': 'mmdet', 'mmseg': 'mmsegmentation', 'mmpretrain': 'mmpretrain'}
PACKAGES = tuple(DISTRIBUTIONS)
FOLDER = Path(os.environ.get('GLMIX_ZOO', 'work_dirs/zoo')).resolve()
STAGES = ('build', 'predict', 'train')

HEAD = """# The zoo

Which models of mmdet, mmsegmentation and mmpretrain run on this platform: a current Python and
torch, and no compiled mmcv. A *kind* is the set of types that a config's model registers. Configs
that differ only in sizes, schedules or data are one kind, and the cheapest is tried. Each kind is
built with random weights, predicts a made-up image, and takes one step of SGD on two. All
predictions, losses, gradients and weights must be finite, and a weight must move. Detectors and
segmentors get images of 128 px, or of the size that they need. Classifiers get what their own
pipeline makes of an image of 256 px. **No published weights were loaded and no score was
measured.** `SyncBN` becomes `BN`, as in the libraries' own tools on a CPU. Two-stage detectors
keep at most 50 boxes. A kind may take 8 GB beyond the libraries, and 240 s of CPU time.

```bash
make zoo                # all; continues an earlier run
make zoo ZOO=mmseg      # one library
```

Some kinds need packages that the libraries do not require. `pip install './glmix_mm[zoo]'` adds
them at versions that work, without `requirements/constraints.txt`, which pins a newer
huggingface-hub than this transformers takes. Counted with transformers 4.48.3 (GLIP, Grounding
DINO, BLIP), fairscale 0.4.13 (Grounding DINO), motmetrics 1.4.0 and lap 0.5.13 (trackers),
scikit-image 0.26.0 (BoxInst) and scikit-learn 1.9.1 (PAA, LAD). In place of `bert-base-uncased`
stood a made-up BERT of two layers.
"""


def read_rows(package: str) -> dict[str, dict]:
    """Return the rows of earlier runs by config; of several of one config, the last."""
    path = FOLDER / f'{package}.jsonl'
    lines = path.read_text().splitlines() if path.is_file() else []
    return {row['config']: row for row in map(json.loads, lines)}


def passed(rows: list[dict], stage: str) -> str:
    """Return how many rows passed a stage, of those that are meant for it."""
    meant = [row for row in rows if row.get(stage) != 'not meant']
    return f'{sum(row.get(stage) == "yes" for row in meant)} / {len(meant)}' if meant else '-'


def failure(row: dict) -> tuple[str, str] | None:
    """Return the first stage that failed and its message."""
    for stage in STAGES:
        outcome = row.get(stage)
        if outcome not in ('yes', 'not meant'):
            return stage, outcome or 'not run'
    return None


def cause(row: dict) -> tuple[str, str] | None:
    """Return whose a row's failure is, and what it is."""
    found = failure(row)
    if found is None:
        return None
    text = f'{row["config"]}: {found[1]}'
    lines = [line for line in CAUSES.read_text().splitlines() if not line.startswith('#')]
    for told, pattern in zip(lines[::2], lines[1::2], strict=True):
        if re.search(pattern.strip(), text):
            return tuple(told.split(': ', 1))
    return 'not known', re.sub(r'/\S*/site-packages/', '', found[1]).replace('|', '\\|')


def family_table(rows: list[dict]) -> list[str]:
    """Return a table with a row for each family of configs."""
    lines = ['| family | configs | kinds | build | predict | train | missing |']
    lines.append('|---|---|---|---|---|---|---|')
    for family in sorted({row['family'] for row in rows}):
        own = [row for row in rows if row['family'] == family]
        counts = ' | '.join(passed(own, stage) for stage in STAGES)
        missing = Counter(f'{what} ({whose})' for whose, what in filter(None, map(cause, own)))
        told = '; '.join(f'{n} x {text}' if n > 1 else text for text, n in missing.items())
        configs = sum(row['configs'] for row in own)
        lines.append(f'| {family} | {configs} | {len(own)} | {counts} | {told} |')
    return lines


def totals(packages: dict[str, list[dict]]) -> list[str]:
    """Return the table of totals."""
    lines = ['| library | configs | kinds | tried | build | predict | train | nothing missing |']
    lines.append('|---|---|---|---|---|---|---|---|')
    for package, rows in packages.items():
        kinds = json.loads((FOLDER / f'{package}-kinds.json').read_text())
        configs = sum(kind['configs'] for kind in kinds)
        counts = ' | '.join(passed(rows, stage) for stage in STAGES)
        whole = sum(failure(row) is None for row in rows)
        name = f'{package} {version(DISTRIBUTIONS[package])}'
        lines.append(f'| {name} | {configs} | {len(kinds)} | {len(rows)} | {counts} | {whole} |')
    return lines


def failures_table(packages: dict[str, list[dict]]) -> list[str]:
    """Return a table of the causes of failures, the most frequent first."""
    counts, example = Counter(), {}
    for rows in packages.values():
        for row in rows:
            if found := cause(row):
                counts[found] += 1
                example.setdefault(found, row['config'])
    lines = ['| kinds | whose | cause | for example |', '|---|---|---|---|']
    for found, number in counts.most_common():
        lines.append(f'| {number} | {found[0]} | {found[1]} | `{example[found]}` |')
    return lines


def upstream_section(folder: Path) -> list[str]:
    """Return the counts of the libraries' own tests and the failures that are expected."""
    lines = [
        '## Their own tests',
        '',
        '`make upstream SRC=folder` runs the unit tests of a checkout of mmcv, mmdet, mmseg or',
        'mmpretrain against this platform, on a CPU. `ONLY=pattern` chooses folders of tests.',
        '',
        '| library | test files run | passed | failed | skipped |',
        '|---|---|---|---|---|',
    ]
    for path in sorted(folder.glob('*.json')):
        row = json.loads(path.read_text())
        counts = ' | '.join(str(row[key]) for key in ('files', 'passed', 'failed', 'skipped'))
        lines.append(f'| {path.stem} {row["version"]} | {counts} |')
    lines += ['', f'The failures, from `tests/zoo/{EXPECTED.name}`:', '', '```text']
    return [*lines, EXPECTED.read_text().rstrip(), '```', '']


def main() -> None:
    """Write the page."""
    packages = {package: list(read_rows(package).values()) for package in PACKAGES}
    packages = {package: rows for package, rows in packages.items() if rows}
    stack = ', '.join(f'{name} {version(name)}' for name in ('torch', 'torchvision', 'numpy'))
    lines = [HEAD, f'Counted with {stack}.', '', *totals(packages), '']
    lines += ['## What is missing', '', *failures_table(packages), '']
    for package, rows in packages.items():
        lines += [f'## {package}', '', *family_table(rows), '']
    lines += upstream_section(FOLDER / 'upstream')
    PAGE.write_text('\n'.join(lines))


if __name__ == '__main__':
    main()
