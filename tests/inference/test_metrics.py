"""CocoMetric and VOCMetric with settings of their own, beside pycocotools and counted by hand."""

import copy
import json

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS, DefaultScope
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from glmix_mm.errors import UserError
from glmix_mm.inference import metrics  # noqa: F401 (registers)

SIDE = 200  # px
CATEGORIES = {7: 'cat', 3: 'dog', 40: 'cow'}
CLASSES = tuple(CATEGORIES.values())


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    """Return a file of six images with eight objects of three classes and many sizes each."""
    rng = np.random.default_rng(0)
    annotations = []
    for number in range(48):
        size = rng.uniform(10, 120, 2)
        box = [*rng.uniform(0, SIDE - size), *size]
        annotations.append(
            dict(
                id=number + 1,
                image_id=10 + number // 8,
                category_id=int(rng.choice(list(CATEGORIES))),
                bbox=list(map(float, box)),
                area=float(size.prod()),
                iscrowd=0,
            )
        )
    images = [dict(id=10 + n, file_name=f'{n}.jpg', height=SIDE, width=SIDE) for n in range(6)]
    categories = [dict(id=number, name=name) for number, name in CATEGORIES.items()]
    path = tmp_path_factory.mktemp('coco') / 'truth.json'
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return str(path)


@pytest.fixture(scope='module')
def truth(path):
    return COCO(path)


@pytest.fixture(scope='module')
def found(truth):
    """Return results: three boxes around each object, up to 8 px off, some of a wrong class."""
    rng = np.random.default_rng(1)
    results = []
    for entry in [*truth.anns.values()] * 3:
        label = rng.choice([entry['category_id']] * 4 + list(CATEGORIES))
        results.append(
            dict(
                image_id=entry['image_id'],
                category_id=int(label),
                bbox=(np.array(entry['bbox']) + rng.uniform(-8, 8, 4)).tolist(),
                score=float(rng.random()),
            )
        )
    return results


def build(kind, **settings):
    with DefaultScope.overwrite_default_scope('mmdet'):
        metric = METRICS.build(dict(type=kind, **settings))
    metric.dataset_meta = dict(classes=CLASSES)
    return metric


def score(path, truth, found, kind='CheckedCocoMetric', **settings):
    """Return a metric's scores of results."""
    metric = build(kind, ann_file=path, **settings)
    labels = {number: label for label, number in enumerate(CATEGORIES)}
    for image in reversed(truth.imgs):  # not in the file's order
        own = [one for one in found if one['image_id'] == image]
        boxes = torch.tensor([one['bbox'] for one in own])
        boxes[:, 2:] += boxes[:, :2]
        instances = dict(
            bboxes=boxes,
            labels=torch.tensor([labels[one['category_id']] for one in own]),
            scores=torch.tensor([one['score'] for one in own]),
        )
        sample = dict(img_id=image, ori_shape=(SIDE, SIDE), pred_instances=instances)
        metric.process({}, [sample])
    scores = metric.evaluate(len(truth.imgs))
    return {name.removeprefix('coco/'): value for name, value in scores.items()}


def stats(truth, found, **params):
    """Return the twelve scores of pycocotools alone, with its own thresholds and numbers."""
    scoring = COCOeval(truth, truth.loadRes(copy.deepcopy(found)), 'bbox')
    for name, value in params.items():
        setattr(scoring.params, name, value)
    scoring.evaluate()
    scoring.accumulate()
    scoring.summarize()
    return scoring.stats


def test_thresholds(path, truth, found):
    own = stats(truth, found)
    for thresholds, mean, left_out in (
        ([0.5, 0.75], (own[1] + own[2]) / 2, set()),
        (0.5, own[1], {'bbox_mAP_75'}),
        ([0.75], own[2], {'bbox_mAP_50'}),
    ):
        scores = score(path, truth, found, iou_thrs=thresholds)
        assert scores['bbox_mAP'] == pytest.approx(mean, abs=1e-3)
        for place, name in enumerate(('bbox_mAP_50', 'bbox_mAP_75'), 1):
            assert (name in scores) == (name not in left_out)
            assert name in left_out or scores[name] == pytest.approx(own[place], abs=1e-3)
    assert 0.1 < own[2] < own[1] < 0.9


def test_scores_of_each_class(path, truth, found):
    scores = score(path, truth, found, iou_thrs=[0.5, 0.75], classwise=True)
    for number, name in CATEGORIES.items():
        own = stats(truth, found, catIds=[number])
        assert scores[f'{name}_precision'] == pytest.approx((own[1] + own[2]) / 2, abs=1e-3)


def test_numbers_of_detections(path, truth, found):
    own = stats(truth, found)  # of 1, 10 and 100
    items = ['mAP', 'mAP_50', 'mAP_l', 'AR@1', 'AR@10', 'AR@100', 'AR_l@100']
    scores = score(path, truth, found, proposal_nums=(100, 1, 10), metric_items=items)
    expected = own[[0, 1, 5, 6, 7, 8, 11]]
    assert [*scores.values()] == pytest.approx(expected, abs=1e-3)
    # Every image has 24; of the ten best fewer are right.
    few = score(path, truth, found, proposal_nums=10, metric_items=['mAP', 'AR@10'])
    assert few['bbox_AR@10'] == scores['bbox_AR@10']
    assert 0 < few['bbox_mAP'] < scores['bbox_mAP']
    classless = stats(truth, found, useCats=0)
    scores = score(path, truth, found, proposal_nums=(1, 10, 100), metric='proposal')
    names = ['AR@1', 'AR@10', 'AR@100', 'AR_s@100', 'AR_m@100', 'AR_l@100']
    assert list(scores) == names
    assert [*scores.values()] == pytest.approx(classless[6:], abs=1e-3)


def test_the_defaults_are_mmdets(path, truth, found):
    kinds = ['bbox', 'proposal']
    expected = score(path, truth, found, 'CocoMetric', metric=kinds)
    assert len(expected) == 12
    assert score(path, truth, found, metric=kinds) == expected


def test_files_of_results(path, truth, found, tmp_path):
    prefix = tmp_path / 'new' / 'results'
    scores = score(path, truth, found, iou_thrs=[0.5], outfile_prefix=str(prefix))
    written = json.loads((tmp_path / 'new' / 'results.bbox.json').read_text())
    assert len(written) == len(found)
    assert scores['bbox_mAP'] == pytest.approx(stats(truth, written)[1], abs=1e-3)
    only = dict(format_only=True, outfile_prefix=str(tmp_path / 'only'))
    assert score(path, truth, found, **only) == {}
    assert json.loads((tmp_path / 'only.bbox.json').read_text()) == written


def by_hand(truth):
    """Return boxes of the first two images: of these 1 object of 8 is missed, of those 4 are."""
    results = []
    for image, missed in ((10, 1), (11, 4)):
        for place, entry in enumerate(truth.imgToAnns[image][missed:]):
            entry = dict(entry, score=0.9 - place / 100)
            keys = ('image_id', 'category_id', 'bbox', 'score')
            results.append(copy.deepcopy({key: entry[key] for key in keys}))
    return results


def test_recall_of_proposals(path, truth):
    entries = by_hand(truth)
    images = COCO(path)
    images.imgs = {number: images.imgs[number] for number in (10, 11)}
    settings = dict(metric='proposal_fast', proposal_nums=(1, 5, 1000))
    scores = score(path, images, entries, **settings)
    # Of 16 objects: one of each image, then 5 and 4, then 7 and 4.
    assert scores == {'AR@1': 2 / 16, 'AR@5': 9 / 16, 'AR@1000': 11 / 16}
    entries[0]['bbox'][2] *= 0.7  # an overlap of 0.7
    at_two = score(path, images, entries, iou_thrs=[0.5, 0.75], **settings)
    assert at_two['AR@1000'] == pytest.approx((11 + 10) / 32)


@pytest.mark.parametrize('order', [1, -1])
def test_recall_as_pascal_has_it(truth, order):
    metric = build('CheckedVOCMetric', metric='recall', proposal_nums=(1, 5, 100))
    labels = {number: label for label, number in enumerate(CATEGORIES)}
    entries = by_hand(truth)[::order]
    for image in (10, 11):
        sides = []
        for own in (truth.imgToAnns[image], [e for e in entries if e['image_id'] == image]):
            boxes = torch.tensor([one['bbox'] for one in own])
            boxes[:, 2:] += boxes[:, :2]
            labelled = torch.tensor([labels[one['category_id']] for one in own])
            scores = torch.tensor([one.get('score', 0) for one in own])
            sides.append(dict(bboxes=boxes, labels=labelled, scores=scores))
        none = dict(bboxes=torch.zeros(0, 4), labels=torch.zeros(0))
        sample = dict(gt_instances=sides[0], ignored_instances=none, pred_instances=sides[1])
        metric.process({}, [sample])
    found = metric.evaluate(2)
    expected = {1: 2 / 16, 5: 9 / 16, 100: 11 / 16}
    assert found == {f'pascal_voc/recall@{n}@0.5': share for n, share in expected.items()}


@pytest.mark.parametrize(
    ('kind', 'settings', 'expected'),
    [
        ('Coco', dict(format_only=True), 'outfile_prefix'),
        ('Coco', dict(metric_items=['mAP_75'], iou_thrs=[0.5]), 'mAP_75; expected .*mAP_50'),
        ('Coco', dict(metric_items=['AR@300'], proposal_nums=(1, 10)), 'AR@300; expected .*AR@10'),
        ('VOC', dict(scale_ranges=[(0, 32), (32, 96)]), 'scale_ranges'),
    ],
)
def test_what_cannot_be_scored(kind, settings, expected):
    with pytest.raises(UserError, match=expected):
        build(f'Checked{kind}Metric', **settings)


def test_truth_that_is_not_there():
    for kind, expected in (('Coco', 'ann_file'), ('VOC', 'LoadAnnotations')):
        with pytest.raises(UserError, match=expected):
            build(f'Checked{kind}Metric').process({}, [dict(pred_instances={})])
