"""Weighs the classes of a segmentor's loss by how rare they are in its training label maps."""

from collections import Counter
from collections.abc import Sequence
from statistics import median

from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..errors import UserError

LABEL_MAPS_READ = 2000  # evenly chosen; about 5 ms each


@HOOKS.register_module()
class ClassWeightHook(Hook):
    """Gives mmseg's cross-entropies the weights of :func:`median_frequency`, once training starts.

    ``custom_hooks = [dict(type='ClassWeightHook')]`` in a segmentor's config. Losses of sigmoids
    and of masks keep their own weights.

    Args:
        power: of the weights. 0.5, their square root, prefers rare classes less than 1 does.
    """

    def __init__(self, power: float = 1.0):
        self.power = power

    def before_train(self, runner: Runner) -> None:
        """Count the labels, and set and log the weights.

        Raises:
            UserError: the model has no such loss, or the data set no label maps.
        """
        from mmseg.models.losses import CrossEntropyLoss
        from mmseg.models.losses.cross_entropy_loss import cross_entropy

        from ..models.cross_entropy import weighted_cross_entropy

        losses = [
            loss
            for loss in runner.model.modules()
            if isinstance(loss, CrossEntropyLoss)
            and loss.cls_criterion in (cross_entropy, weighted_cross_entropy)
        ]
        if not losses:
            raise UserError(
                "ClassWeightHook: the model has no CrossEntropyLoss of mmseg's over its classes; "
                'leave the hook out of custom_hooks'
            )
        dataset = runner.train_dataloader.dataset
        classes = dataset.metainfo['classes']
        weights = median_frequency(labels_of(dataset), len(classes))
        weights = [weight**self.power for weight in weights]
        for loss in losses:
            loss.class_weight = weights
            loss.cls_criterion = weighted_cross_entropy  # mmseg's own stops at ignored pixels
        listed = ', '.join(f'{n} {w:.3g}' for n, w in zip(classes, weights, strict=True))
        runner.logger.info(f'Class weights (median frequency): {listed}')


def labels_of(dataset: BaseDataset) -> list[Counter]:
    """Return the number of pixels of each class in each of a data set's label maps.

    Of more than ``LABEL_MAPS_READ``, so many are read. Ignored pixels are not counted.

    Raises:
        UserError: there are no label maps, or one can't be read.
    """
    from ..data.label_statistics import count_labels
    from ..data.statistics import evenly, in_threads

    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    maps = {info['seg_map_path']: info for info in infos if info.get('seg_map_path')}
    if not maps:
        raise UserError('ClassWeightHook: the training set has no label maps')
    paths = evenly(sorted(maps), LABEL_MAPS_READ)
    count = len(dataset.metainfo['classes'])
    found = []
    for path, labels in zip(paths, in_threads(count_labels, paths), strict=True):
        info, pixels = maps[path], Counter()
        for label, number in labels.items():
            # As mmseg's LoadAnnotations numbers them: first chosen classes, then without label 0.
            label = (info.get('label_map') or {}).get(label, label)
            label -= bool(info.get('reduce_zero_label'))
            if 0 <= label < count:
                pixels[label] += number
        found.append(pixels)
    return found


def median_frequency(maps: Sequence[Counter], count: int) -> list[float]:
    """Return the median of all classes' frequencies over each class's own.

    A class's frequency is its share of the pixels of the label maps that hold it (Eigen and Fergus,
    arXiv 1411.4734).

    Args:
        maps: the number of pixels of each class in each label map, without ignored ones.
        count: of classes; one that no label map holds has the weight 1.
    """
    frequencies = {}
    for label in range(count):
        holding = [pixels for pixels in maps if pixels[label]]
        if holding:
            own = sum(pixels[label] for pixels in holding)
            frequencies[label] = own / sum(pixels.total() for pixels in holding)
    middle = median(frequencies.values()) if frequencies else 1.0
    return [middle / frequencies.get(label, middle) for label in range(count)]
