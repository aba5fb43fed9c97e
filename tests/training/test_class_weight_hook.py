"""The weights of rare classes, from the label maps that a segmentor trains on."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmseg.datasets import BaseSegDataset
from mmseg.models.losses import CrossEntropyLoss
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy

from glmix_mm.errors import UserError
from glmix_mm.training.class_weight_hook import ClassWeightHook, labels_of, median_frequency

CLASSES = ('road', 'sign', 'train')


def test_median_frequency_by_hand():
    # Shares of the images that hold them: 60 of 200, 10 of 100, 130 of 200; the fourth is nowhere.
    maps = [Counter({0: 20, 2: 80}), Counter({0: 40, 1: 10, 2: 50})]
    expected = [0.3 / 0.3, 0.3 / 0.1, 0.3 / 0.65, 1]
    assert median_frequency(maps, 4) == pytest.approx(expected)
    assert median_frequency([], 2) == [1, 1]


def label_maps(folder, **settings):
    """Return a data set of two label maps; 255 is ignored."""
    first = np.full((4, 5), 255)
    first.flat[:12] = [0] * 9 + [1] * 3
    second = np.zeros((2, 5))
    for name, labels in (('a', first), ('b', second)):
        Image.fromarray((labels + settings.pop('add', 0)).astype(np.uint8)).save(
            folder / f'{name}.png'
        )
        Image.fromarray(np.zeros((*labels.shape, 3), np.uint8)).save(folder / f'{name}.jpg')
    return BaseSegDataset(
        data_root=str(folder),
        data_prefix=dict(img_path='', seg_map_path=''),
        metainfo=dict(classes=CLASSES),
        **settings,
    )


def test_ignored_pixels_are_not_counted(tmp_path):
    dataset = label_maps(tmp_path, reduce_zero_label=False)
    assert labels_of(dataset) == [Counter({0: 9, 1: 3}), Counter({0: 10})]


def test_labels_are_numbered_as_training_numbers_them(tmp_path):
    dataset = label_maps(tmp_path, reduce_zero_label=True)
    assert labels_of(dataset) == [Counter({0: 3}), Counter()]


def start(model, dataset, **settings):
    loader, logger = SimpleNamespace(dataset=dataset), MMLogger.get_current_instance()
    runner = SimpleNamespace(model=model, train_dataloader=loader, logger=logger)
    ClassWeightHook(**settings).before_train(runner)


def test_the_losses_of_a_model_get_the_weights(tmp_path):
    plain, binary = CrossEntropyLoss(avg_non_ignore=True), CrossEntropyLoss(use_sigmoid=True)
    start(nn.ModuleList([plain, binary]), label_maps(tmp_path, reduce_zero_label=False))
    # 19 of 22 and 3 of 12; the median of two is their mean.
    middle = (19 / 22 + 3 / 12) / 2
    assert plain.class_weight == pytest.approx([middle * 22 / 19, middle * 12 / 3, 1])
    assert binary.class_weight is None
    torch.manual_seed(0)
    scores, labels = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    labels[0, 0] = 255
    expected = cross_entropy(scores, labels, torch.tensor(plain.class_weight), ignore_index=255)
    torch.testing.assert_close(plain(scores, labels, ignore_index=255), expected)


def test_a_power_makes_the_weights_milder(tmp_path):
    loss = CrossEntropyLoss()
    start(loss, label_maps(tmp_path, reduce_zero_label=False), power=0.5)
    middle = (19 / 22 + 3 / 12) / 2
    assert loss.class_weight == pytest.approx([(middle * 22 / 19) ** 0.5, (middle * 4) ** 0.5, 1])


def test_a_model_without_such_a_loss_is_refused(tmp_path):
    with pytest.raises(UserError, match='no CrossEntropyLoss'):
        start(nn.Linear(1, 1), label_maps(tmp_path))
