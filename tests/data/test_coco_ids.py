"""Files that pycocotools can't score with have the AP of the same with what it needs."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, METRICS, DefaultScope
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from glmix_mm.data.coco_by_name import CocoByName
from glmix_mm.data.coco_ids import describe
from glmix_mm.data.demo_set import DEMO_CLASSES, write_demo_dataset
from glmix_mm.inference import metrics  # noqa: F401 (registers)

ODD = {
    'from 0': lambda place: place,
    'texts': lambda place: f'{place:08x}-uuid',
    'beyond a float': lambda place: 10**400 + place,
    'numbers and texts': lambda place: str(place) if place % 2 else place,
}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return write_demo_dataset(tmp_path_factory.mktemp('ids') / 'set', 2, 4, 64) / 'coco'


def write(root, name, number):
    """Write the validation set's annotations with other ids; return the file."""
    content = json.loads((root / 'annotations' / 'instances_val2017.json').read_text())
    content['annotations'].sort(key=lambda entry: entry['iscrowd'])  # matches of these don't count
    for place, entry in enumerate(content['annotations']):
        entry['id'] = number(place)
    path = root / 'annotations' / f'{name}.json'
    path.write_text(json.dumps(content))
    return path


def results(path):
    """Return detections, by image: a file's boxes, moved by up to 3 px."""
    rng = np.random.default_rng(0)
    content = json.loads(path.read_text())
    found = {image['id']: [] for image in content['images']}
    for entry in content['annotations']:
        box = (np.array(entry['bbox']) + rng.uniform(-3, 3, 4)).tolist()
        found[entry['image_id']].append((box, entry['category_id'], float(rng.random())))
    return found


def score(root, path):
    """Return the AP of the detections, with the data set and the metric reading a file."""
    with DefaultScope.overwrite_default_scope('mmdet'), contextlib.redirect_stdout(io.StringIO()):
        settings = dict(ann_file=str(path), data_prefix=dict(img=f'{root}/val2017/'))
        dataset = DATASETS.build(
            dict(
                settings,
                type='CocoDatasetByName',
                metainfo=dict(classes=DEMO_CLASSES),
                test_mode=True,
            )
        )
        metric = METRICS.build(dict(type='CheckedCocoMetric', ann_file=str(path), metric='bbox'))
        metric.dataset_meta = dataset.metainfo
        for index, image in enumerate(sorted(found := results(path))):
            assert dataset.get_data_info(index)['img_id'] == image
            boxes = torch.tensor([box for box, _, _ in found[image]]).reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            labels = torch.tensor([dataset.cat_ids.index(label) for _, label, _ in found[image]])
            scores = torch.tensor([rate for _, _, rate in found[image]])
            sample = dict(bboxes=boxes, labels=labels, scores=scores)
            metric.process({}, [dict(img_id=image, ori_shape=(64, 64), pred_instances=sample)])
        return metric.evaluate(len(dataset))['coco/bbox_mAP']


def score_alone(path):
    """Return the AP that pycocotools gives by itself."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        detections = [
            dict(image_id=image, bbox=box, category_id=category, score=rate)
            for image, entries in results(path).items()
            for box, category, rate in entries
        ]
        evaluation = COCOeval(truth, truth.loadRes(detections), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return round(float(evaluation.stats[0]), 3)


@pytest.mark.parametrize('kind', ODD)
def test_the_ap_is_that_of_ids_from_1(root, kind):
    sound = write(root, 'sound', lambda place: place + 1)
    odd = write(root, 'odd', ODD[kind])
    before = odd.read_bytes()
    expected = score(root, sound)
    assert 0.2 < expected < 0.9
    assert score_alone(sound) == expected
    assert score(root, odd) == expected
    assert odd.read_bytes() == before


def test_without_iscrowd_an_annotation_is_no_crowd(root):
    sound = write(root, 'sound', lambda place: place + 1)
    content = json.loads(sound.read_text())
    without = [entry for entry in content['annotations'] if not entry['iscrowd']]
    for entry in without:
        del entry['iscrowd']
    (root / 'annotations' / 'without.json').write_text(json.dumps(content))
    assert without
    assert score(root, root / 'annotations' / 'without.json') == score(root, sound)
    assert describe(content['annotations'], 'a.json') == [
        f"a.json: {len(without)} annotations have no 'iscrowd'; it is read as 0"
    ]


def test_pycocotools_alone_gives_another_ap(root):
    sound = write(root, 'sound', lambda place: place + 1)
    assert score_alone(write(root, 'odd', ODD['from 0'])) < score_alone(sound)


def test_sound_ids_stay_as_they_are(root):
    with contextlib.redirect_stdout(io.StringIO()):
        read = CocoByName(str(write(root, 'high', lambda place: 2**63 - 1 - 5 * place)))
    assert min(read.anns) > 2**62
