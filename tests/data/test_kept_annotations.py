"""The classes, the checks and the data set of a command parse an annotation file once."""

import json
import os

import pytest
from mmengine.registry import DATASETS, DefaultScope
from test_coco_checks import TRAIN, edit, make_config

from glmix_mm.config.edits import match_by_name
from glmix_mm.data.classes_from_data import read_classes
from glmix_mm.data.coco_checks import read_coco
from glmix_mm.data.dataset_checks import check_datasets
from glmix_mm.data.demo_set import write_demo_dataset
from glmix_mm.data.kept_annotations import annotations_kept, forget_parsed
from glmix_mm.data.paths import Place


@pytest.fixture
def root(tmp_path):
    return write_demo_dataset(tmp_path / 'set', num_train=4, num_val=4, image_size=64) / 'coco'


@pytest.fixture
def read(monkeypatch):
    """The files that are parsed, in turn."""
    paths, load = [], json.load

    def note(file, **kwargs):
        paths.append(os.path.basename(file.name))
        return load(file, **kwargs)

    monkeypatch.setattr(json, 'load', note)
    return paths


def start(root):
    """Do what a training does with its data; return what the training set holds."""
    cfg = make_config(root)
    match_by_name(cfg)
    read_classes(cfg)
    check_datasets(cfg, ['train'])
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=[]))
    return [dataset.get_data_info(place) for place in range(len(dataset))]


def test_a_command_parses_a_file_once(root, read):
    alone = start(root)
    names = [os.path.basename(TRAIN)] * 3
    assert [name for name in read if name in names] == names
    read.clear()
    with annotations_kept():
        kept = start(root)
    assert read.count(names[0]) == 1
    assert kept == alone


def test_what_is_kept_is_of_the_file_as_it_is(root, read):
    place = Place('train', str(root))
    path = str(root / TRAIN)
    with annotations_kept():
        before = read_coco(path, place)
        assert read_coco(path, place) is before
        edit(root / TRAIN, lambda content: content['annotations'].pop())
        after = read_coco(path, place)
        assert len(after['annotations']) == len(before['annotations']) - 1
        forget_parsed()
        assert read_coco(path, place) is not after
    assert len(read) >= 3
    assert read_coco(path, place) is not read_coco(path, place)
