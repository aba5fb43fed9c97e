"""Lists the configs that come with this package: what ``glmix list`` calls; without torch."""

import argparse
from collections.abc import Sequence

import yaml

from ..compat.startup import config_root

HEAD = ('name', 'data', 'batch', 'length', 'parameters')


def main(argv: Sequence[str]) -> int:
    """Print a line for each config whose path holds the word; return 1 if there is none."""
    parser = argparse.ArgumentParser(description='List the configs that come with this package.')
    parser.add_argument('word', nargs='?', default='', metavar='WORD', help='a part of their names')
    word = parser.parse_args(argv).word
    known = published()
    root = config_root()
    names = sorted(
        path.relative_to(root).with_suffix('').as_posix()
        for path in root.rglob('*.py')
        if '_base_' not in path.relative_to(root).parts
    )
    rows = [(name, *known.get(name, [''] * 4)) for name in names if word in name]
    if not rows:
        print(f'no config has {word!r} in its name; there are {len(names)} (glmix list)')
        return 1
    widths = [max(map(len, column)) for column in zip(HEAD, *rows, strict=True)]
    for row in (HEAD, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print('  '.join(cells).rstrip())
    return 0


def published() -> dict[str, list[str]]:
    """Return what the metafiles say of each config: data, batch, length and parameters."""
    found = {}
    for path in config_root().rglob('metafile.yml'):
        for model in yaml.safe_load(path.read_text(encoding='utf-8'))['Models']:
            data = model['Metadata']
            units = ('Epochs', 'Iterations')
            length = next(f'{data[unit]} {unit.lower()}' for unit in units if unit in data)
            name = model['Config'].removeprefix('configs/').removesuffix('.py')
            millions = f'{data["Parameters"] / 1e6:.1f} M'
            found[name] = [data['Training Data'], str(data['Batch Size']), length, millions]
    return found
