"""COCO annotations whose categories are matched by name, whatever their order in the file.

mmdet numbers a data set's classes in the order of the file's categories. Two files with the same
names in another order then have other labels, and perfect boxes of one score badly on the other.
"""

from collections.abc import Sequence

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmengine.registry import DATASETS


def category_ids(coco: COCO, names: Sequence[str]) -> list:
    """Return the ids of the categories of these names, in the order of the names."""
    ids = {category['name']: category['id'] for category in coco.dataset['categories']}
    return [ids[name] for name in names if name in ids]


class CocoByName(COCO):
    """mmdet's ``COCO``, which returns the ids of names in the order of the names."""

    by_name = True

    def get_cat_ids(self, cat_names=(), sup_names=(), cat_ids=()) -> list:
        """Return the ids of the categories of these names, supercategories or ids."""
        if cat_names and not sup_names and not cat_ids:
            return category_ids(self, cat_names)
        return super().get_cat_ids(cat_names, sup_names, cat_ids)


@DATASETS.register_module()
class CocoDatasetByName(CocoDataset):
    """mmdet's ``CocoDataset``, whose labels are the places of the names in its classes."""

    COCOAPI = CocoByName
