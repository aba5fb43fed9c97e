"""Walks through the nested settings of a config."""

from collections.abc import Iterator, Mapping

SPLITS = ('train', 'val', 'test')


def unwrap(settings: Mapping) -> Iterator[Mapping]:
    """Yield the data sets' settings inside wrappers such as RepeatDataset and ConcatDataset."""
    if 'datasets' in settings:
        for inner in settings['datasets']:
            yield from unwrap(inner)
    elif 'dataset' in settings:
        yield from unwrap(settings['dataset'])
    else:
        yield settings


def nested_dicts(node: object) -> Iterator[dict]:
    """Yield every dict in a nest of dicts and lists, the outer ones first."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for value in node:
            yield from nested_dicts(value)
