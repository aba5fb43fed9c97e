"""COCO's annotations, completed, with categories that are matched by name.

mmdet numbers a data set's classes in the order of the file's categories. Two files with the same
names in another order then have other labels, and perfect boxes of one score badly on the other.
And pycocotools opens files in the locale's encoding; json is UTF-8, in which names may be others.
"""

import json
from collections.abc import Sequence

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmengine.registry import DATASETS

from ..utils.collector import collection_paused
from .coco_ids import complete
from .kept_annotations import take_parsed


def category_ids(coco: COCO, names: Sequence[str]) -> list:
    """Return the ids of the categories of these names, in the order of the names."""
    ids = {category['name']: category['id'] for category in coco.dataset['categories']}
    return [ids[name] for name in names if name in ids]


def _read(path: str) -> dict:
    with collection_paused(), open(path, encoding='utf-8') as file:
        return json.load(file)


class CocoByName(COCO):
    """mmdet's ``COCO`` of a UTF-8 file, completed, that finds ids in the order of the names.

    What was read is completed, never the file (:func:`~glmix_mm.data.coco_ids.complete`).
    """

    by_name = True

    def __init__(self, annotation_file: str | None = None):
        super().__init__()
        if annotation_file is not None:
            self.dataset = take_parsed(annotation_file) or _read(annotation_file)
            self.createIndex()
            self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def createIndex(self) -> None:
        """Complete the annotations, then index them."""
        complete(self.dataset.get('annotations') or [])
        super().createIndex()

    def get_cat_ids(self, cat_names=(), sup_names=(), cat_ids=()) -> list:
        """Return the ids of the categories of these names, supercategories or ids."""
        if cat_names and not sup_names and not cat_ids:
            return category_ids(self, cat_names)
        return super().get_cat_ids(cat_names, sup_names, cat_ids)


@DATASETS.register_module()
class CocoDatasetByName(CocoDataset):
    """mmdet's ``CocoDataset``, whose labels are the indices of category names in its classes."""

    COCOAPI = CocoByName

    def full_init(self) -> None:
        """Read the annotations."""
        with collection_paused():
            super().full_init()
