"""Perfect boxes score 1 where the validation file has its categories in another order."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.registry import DATASETS, METRICS, DefaultScope
from test_coco_checks import VAL, edit, failure, make_config

from glmix_mm.config.classes import use_found
from glmix_mm.config.edits import match_by_name, use_checked_metrics
from glmix_mm.data.classes_from_data import read_classes
from glmix_mm.data.dataset_checks import check_datasets
from glmix_mm.data.demo_set import DEMO_CLASSES, write_demo_dataset


@pytest.fixture
def root(tmp_path):
    root = write_demo_dataset(tmp_path / 'set', num_train=4, num_val=4, image_size=64) / 'coco'
    edit(root / VAL, reorder)
    return root


def reorder(content):
    """Reverse the categories and number them anew, as another export of the same project does."""
    names = {entry['id']: entry['name'] for entry in content['categories']}
    names_anew = list(reversed(names.values()))
    content['categories'] = [dict(id=10 - i, name=name) for i, name in enumerate(names_anew)]
    for box in content['annotations']:
        box['category_id'] = 10 - names_anew.index(names[box['category_id']])


def score_perfect_boxes(cfg, **settings):
    """Return the scores of the validation data's own boxes, with the labels that training has."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(dict(cfg.val_dataloader.dataset, pipeline=[], test_mode=True))
        metric = METRICS.build(dict(cfg.val_evaluator, **settings))
    metric.dataset_meta = dataset.metainfo
    content = json.loads(Path(cfg.val_evaluator.ann_file).read_text())
    names = {entry['id']: entry['name'] for entry in content['categories']}
    for image in content['images']:
        boxes = [box for box in content['annotations'] if box['image_id'] == image['id']]
        boxes = [box for box in boxes if not box['iscrowd']]
        corners = torch.tensor([box['bbox'] for box in boxes]).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        labels = torch.tensor([DEMO_CLASSES.index(names[box['category_id']]) for box in boxes])
        found = dict(bboxes=corners, labels=labels.long(), scores=torch.ones(len(boxes)))
        sample = dict(img_id=image['id'], ori_shape=(64, 64), pred_instances=found)
        metric.process({}, [sample])
    return dataset, metric.evaluate(len(content['images']))


def test_perfect_boxes_score_1(root):
    cfg, notes = make_config(root), []
    match_by_name(cfg)
    use_checked_metrics(cfg)
    check_datasets(cfg, ['train', 'val'], notes.append)
    assert any('matched by name' in note and VAL in note for note in notes)
    dataset, scores = score_perfect_boxes(cfg, classwise=True)
    present = {name for name in DEMO_CLASSES if scores[f'coco/{name}_precision'] == 1}
    content = json.loads((root / VAL).read_text())
    names = {entry['id']: entry['name'] for entry in content['categories']}
    whole = [box for box in content['annotations'] if not box['iscrowd']]
    assert present == {names[box['category_id']] for box in whole}
    assert scores['coco/bbox_mAP'] == 1
    labels = [one['bbox_label'] for info in dataset for one in info['instances']]
    assert sorted(labels) == sorted(
        DEMO_CLASSES.index(names[box['category_id']]) for box in content['annotations']
    )


def test_mmdets_own_classes_would_score_less(root):
    _, scores = score_perfect_boxes(make_config(root))
    assert scores['coco/bbox_mAP'] < 0.5


def test_without_matching_by_name_the_way_out_works(root):
    from glmix_mm.data import coco_by_name  # noqa: F401  (registers, as custom_imports do)
    from glmix_mm.inference import metrics  # noqa: F401

    cfg = make_config(root)
    message = failure(cfg)
    cfg.val_dataloader.dataset.type = 'CocoDatasetByName'
    cfg.val_evaluator.type = 'CheckedCocoMetric'
    assert all(word in message for word in ('CocoDatasetByName', 'CheckedCocoMetric'))
    check_datasets(cfg, ['train', 'val'])
    assert score_perfect_boxes(cfg)[1]['coco/bbox_mAP'] == 1


def test_splits_that_number_their_classes_otherwise_are_refused(root):
    cfg = make_config(root)
    match_by_name(cfg)
    cfg.val_dataloader.dataset.metainfo = dict(classes=DEMO_CLASSES[::-1])
    assert 'val_dataloader.dataset.metainfo' in failure(cfg)
    assert 'val_dataloader.dataset.metainfo' in failure(cfg, ['val'])


def test_a_class_that_only_training_has_is_named_with_its_file(root):
    edit(root / VAL, lambda c: c['categories'][2].update(name='Triangle'))
    cfg = make_config(root)
    match_by_name(cfg)
    message = failure(cfg)
    assert message.startswith(str(root / VAL))
    assert "absent are 'triangle'" in message
    assert 'metainfo' not in message


def test_a_set_of_ones_own_trains_in_either_order(root, tmp_path):
    folder = shutil.copytree(root, tmp_path / 'own')
    cfg = make_config(folder, classes=None)
    cfg.val_evaluator.ann_file = str(folder / VAL)
    use_found(cfg, read_classes(cfg))
    match_by_name(cfg)
    use_checked_metrics(cfg)
    check_datasets(cfg, ['train', 'val'])
    assert score_perfect_boxes(cfg)[1]['coco/bbox_mAP'] == 1
