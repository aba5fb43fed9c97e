"""The content of ``predictions.json``, image by image."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.structures import BaseDataElement

from .classify import class_results
from .coco_results import NO_IDS, KnownIds, category_numbers, coco_results, objects_of


class Results:
    """What a model found in images; docs/train.md explains the keys.

    Images and categories have the data set's numbers where it has them. Otherwise they are numbered
    from 1, images after those of the data set.

    Args:
        library: mmdet, mmseg or mmpretrain.
        classes: names.
        ids: the data set's numbers.

    Attributes:
        classes: names.
        content: what is written as json.
        numbers: each class's category.
    """

    def __init__(self, library: str, classes: Sequence[str], ids: KnownIds = NO_IDS):
        self._library, self._ids = library, ids
        self.classes = list(classes)
        self.numbers = category_numbers(classes, ids.categories)
        taken = [number for number in ids.images.values() if isinstance(number, int)]
        self._others = itertools.count(max(taken, default=0) + 1)
        self.content: dict[str, list] = dict(images=[])
        if library == 'mmseg':
            self.content.update(classes=self.classes)
            return
        pairs = zip(self.numbers, classes, strict=True)
        categories = [dict(id=number, name=name) for number, name in pairs]
        self.content.update(categories=categories, annotations=[])

    def add(
        self,
        sample: BaseDataElement,
        path: str | Path,
        size: tuple[int, int],
        score_thr: float = 0.3,
        label_map: str = '',
    ) -> None:
        """Add what was found in an image.

        Args:
            sample: of mmdet, mmseg or mmpretrain, with predictions.
            path: of the image.
            size: its height and width, pixels.
            score_thr: least score of a detection.
            label_map: a segmentor's PNG, relative to the json.
        """
        known = self._ids.images.get(os.path.realpath(path))
        image = next(self._others) if known is None else known
        record = dict(id=image, file_name=str(path), height=size[0], width=size[1])
        self.content['images'].append(record)
        if self._library == 'mmseg':
            record['label_map'] = label_map
            return
        if self._library == 'mmdet':
            found = objects_of(sample, len(self.classes))
            entries = coco_results(found, image, self.numbers, score_thr)
        else:
            entries = class_results(sample, image, self.numbers)
        for entry in entries:
            number = len(self.content['annotations']) + 1
            self.content['annotations'].append(dict(id=number, iscrowd=0, **entry))
