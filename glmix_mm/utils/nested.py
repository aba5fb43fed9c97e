"""Walks through the nested settings of a config."""

from collections.abc import Iterator, Mapping

SPLITS = ('train', 'val', 'test')
NUMBERS = ['num_classes', 'num_things_classes']
# RPNs tell object from background, and mmdet's semantic heads count their own classes.
OTHER_HEADS = ('rpn_head', 'semantic_head')


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


def heads_classes(settings: object, path: str) -> Iterator[tuple[str, int]]:
    """Yield the full key and value of each head's number of classes within a model's settings.

    That is ``num_classes``, or ``num_things_classes`` where there is no stuff beside them.
    """
    if isinstance(settings, (list, tuple)):
        items = [(f'{path}.{i}', value) for i, value in enumerate(settings)]
    elif isinstance(settings, Mapping):
        # Heads that count stuff as well have the data set's classes in two numbers.
        keys = ['num_classes'] if settings.get('num_stuff_classes') else NUMBERS
        for key in keys:
            if key in settings and 'head' in path:
                yield f'{path}.{key}', settings[key]
        items = [(f'{path}.{key}', v) for key, v in settings.items() if key not in OTHER_HEADS]
    else:
        return
    for key, value in items:
        yield from heads_classes(value, key)
