"""More objects in an image than a model returns, or than COCO's metric counts."""

from collections.abc import Iterator, Mapping, Sequence

from mmengine.config import Config

USUAL = 100  # detections of a class in an image that COCO's mAP counts
NUMBERS = (100, 300, 1000)  # mmdet's default of proposal_nums
LIMITS = ('max_per_img', 'max_per_image', 'num_queries', 'num_proposals')


def limit_notes(cfg: Config, split: str, most: int, of_one: int) -> list[str]:
    """Return warnings of limits that an image's objects exceed, with the options that set them.

    Args:
        cfg: a detector's config.
        split: of the data.
        most: largest number of objects in an image.
        of_one: largest number of objects of one class in an image.
    """
    notes = [
        f'warning: an image has {most} objects, but the model returns at most {limit}; set '
        f'--cfg-options {key}={most} or more'
        for key, limit in _limits(cfg.model, 'model')
        if limit < most
    ]
    evaluators = cfg.get(f'{split}_evaluator') or []
    several = isinstance(evaluators, Sequence)
    for place, evaluator in enumerate(evaluators if several else [evaluators]):
        if not str(evaluator.get('type')).endswith('CocoMetric'):
            continue
        numbers = evaluator.get('proposal_nums', NUMBERS)
        numbers = numbers if isinstance(numbers, Sequence) else [numbers]
        counted = USUAL if USUAL in numbers else max(numbers)
        if counted < of_one:
            key = f'{split}_evaluator{f".{place}" if several else ""}.proposal_nums'
            notes.append(
                f'warning: an image has {of_one} objects of one class, but mAP counts {counted} '
                f'detections of a class in an image; set --cfg-options {key}="[1,10,{of_one}]"'
            )
    return notes


def _limits(settings: object, path: str) -> Iterator[tuple[str, int]]:
    """Yield the full key and value of each limit on what a model returns.

    Those on proposals, and of training, are of boxes that are no results yet.
    """
    if isinstance(settings, (list, tuple)):
        items = [(f'{path}.{place}', value) for place, value in enumerate(settings)]
    elif isinstance(settings, Mapping):
        items = [(f'{path}.{key}', value) for key, value in settings.items()]
    else:
        return
    for key, value in items:
        name = key.rsplit('.', 1)[1]
        limits = name in LIMITS or key.endswith('test_cfg.topk')  # CenterNet's
        if limits and isinstance(value, int) and value > 0:
            yield key, value
        elif name not in ('rpn', 'rpn_proposal', 'train_cfg'):
            yield from _limits(value, key)
