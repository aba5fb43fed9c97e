"""tools/test.py from start to end on a tiny set: scores, predictions, pictures, augmentation."""

import copy
import json
import pickle
import shutil

import cv2
import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from runs import read_scores, test

from glmix_mm.cli import run
from glmix_mm.config.load_config import load_config
from glmix_mm.data.demo_set import DEMO_CLASSES, DEMO_SEG_CLASSES
from glmix_mm.inference.predict import main as predict
from glmix_mm.models.backbone import PyramidBackbone
from glmix_mm.models.build import build_model


def make_truth_of(predictions, demo_root, root):
    """Make a data set whose truth is what was predicted for the demo set's held-out images."""
    coco = demo_root / 'coco'
    (root / 'annotations').mkdir(parents=True)
    for split in ('train2017', 'val2017'):
        (root / split).symlink_to(coco / split)
    truth = json.loads((coco / 'annotations' / 'instances_val2017.json').read_text())
    ids = [category['id'] for category in truth['categories']]
    truth['annotations'] = []
    for prediction in predictions:
        found = prediction['pred_instances']
        for label, (x1, y1, x2, y2), mask in zip(
            found['labels'].tolist(), found['bboxes'].tolist(), found['masks'], strict=True
        ):
            truth['annotations'].append(
                dict(
                    id=len(truth['annotations']) + 1,
                    image_id=prediction['img_id'],
                    category_id=ids[label],
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                    iscrowd=0,
                    segmentation=dict(mask, counts=mask['counts'].decode()),
                )
            )
    for split in ('train', 'val'):
        path = root / 'annotations' / f'instances_{split}2017.json'
        path.write_text(json.dumps(truth))
    return root, truth['annotations']


def test_a_detectors_scores_predictions_and_pictures(
    nano_detector, detector_weights, demo_root, tmp_path
):
    out, pictures = tmp_path / 'out.pkl', tmp_path / 'pictures'
    options = ('--out', out, '--show-dir', pictures)
    assert test(nano_detector, detector_weights, demo_root, tmp_path / 'wd', *options) == 0
    images = {path.name: path for path in (demo_root / 'coco' / 'val2017').iterdir()}
    assert {path.name for path in pictures.iterdir()} == set(images)
    for path in pictures.iterdir():  # truth and predictions side by side
        height, width = cv2.imread(str(images[path.name])).shape[:2]
        assert cv2.imread(str(path)).shape[:2] == (height, 2 * width)

    # Scored against themselves, the predictions that were saved are all right.
    predictions = pickle.loads(out.read_bytes())
    assert len(predictions) == len(images)
    root, annotations = make_truth_of(predictions, demo_root, tmp_path / 'coco')
    assert len(annotations) > len(images)
    assert test(nano_detector, detector_weights, root, tmp_path / 'wd2') == 0
    assert read_scores(tmp_path / 'wd2')['coco/bbox_mAP'] == pytest.approx(1, abs=1e-3)
    # Against the real truth pycocotools alone gives the same score as the tool.
    truth = COCO(demo_root / 'coco' / 'annotations' / 'instances_val2017.json')
    scores = [s for p in predictions for s in p['pred_instances']['scores'].tolist()]
    results = [
        dict(annotation, score=score) for annotation, score in zip(annotations, scores, strict=True)
    ]
    for kind in ('bbox', 'segm'):
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        expected = evaluation.stats[0]
        assert read_scores(tmp_path / 'wd')[f'coco/{kind}_mAP'] == pytest.approx(expected, abs=1e-3)


@METRICS.register_module()
class FailingForTests(BaseMetric):
    """A metric that fails when everything is inferred."""

    default_prefix = 'failing'

    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        raise ZeroDivisionError(len(results))


@pytest.fixture
def renumbered(demo_root, tmp_path):
    """Return the demo set with other numbers for its images and categories, and its file's path."""
    coco, root = demo_root / 'coco', tmp_path / 'renumbered'
    (root / 'annotations').mkdir(parents=True)
    for split in ('train', 'val'):
        (root / f'{split}2017').symlink_to(coco / f'{split}2017')
        name = f'annotations/instances_{split}2017.json'
        content = json.loads((coco / name).read_text())
        for entry in content['annotations']:
            entry['image_id'] += 1000
            entry['category_id'] = 100 - entry['category_id']
        for entry in content['images']:
            entry['id'] += 1000
        for entry in content['categories']:
            entry['id'] = 100 - entry['id']
        (root / name).write_text(json.dumps(content))
    return root, root / name


def test_results_of_coco_outlive_a_metric_that_fails(
    nano_detector, detector_weights, renumbered, tmp_path
):
    root, path = renumbered
    config, out = tmp_path / 'failing.py', tmp_path / 'new' / 'results.json'
    failing = "test_evaluator = dict(_delete_=True, type='FailingForTests')"
    config.write_text(f'_base_ = {nano_detector!r}\n{failing}')
    with pytest.raises(ZeroDivisionError):
        test(str(config), detector_weights, root, tmp_path / 'wd', '--out', out)
    truth = COCO(path)
    results = truth.loadRes(str(out))
    assert {one['image_id'] for one in results.anns.values()} <= set(truth.imgs)

    # As truth of their own they are all right, and the model's own label is the category's name.
    pickled = tmp_path / 'out.pkl'
    assert test(nano_detector, detector_weights, root, tmp_path / 'wd2', '--out', pickled) == 0
    names = {}
    for prediction in pickle.loads(pickled.read_bytes()):
        found = prediction['pred_instances']
        for label, score in zip(found['labels'].tolist(), found['scores'].tolist(), strict=True):
            names[prediction['img_id'], round(score, 6)] = DEMO_CLASSES[label]
    assert len(names) == len(results.anns)
    for one in results.anns.values():
        name = truth.cats[one['category_id']]['name']
        assert names[one['image_id'], round(one['score'], 6)] == name
    content = json.loads(path.read_text())
    content['annotations'] = [dict(one, iscrowd=0) for one in results.anns.values()]
    path.write_text(json.dumps(content))
    options = ('--cfg-options', 'test_evaluator.iou_thrs=[0.5,0.9]')
    assert test(nano_detector, detector_weights, root, tmp_path / 'wd3', *options) == 0
    scores = read_scores(tmp_path / 'wd3')
    assert scores['coco/bbox_mAP'] == scores['coco/segm_mAP'] == 1


def test_a_set_of_pascals(nano_detector, detector_weights, demo_root, tmp_path, capsys):
    """What was predicted, as truth in Pascal VOC's files, scores well: these round to pixels."""
    out, voc = tmp_path / 'results.json', tmp_path / 'voc' / 'VOC2007'
    assert test(nano_detector, detector_weights, demo_root, tmp_path / 'wd', '--out', out) == 0
    for folder in ('Annotations', 'ImageSets/Main'):
        (voc / folder).mkdir(parents=True)
    (voc / 'JPEGImages').symlink_to(demo_root / 'coco' / 'val2017')
    names = {path.stem: [] for path in (voc / 'JPEGImages').iterdir()}
    for one in json.loads(out.read_text()):
        x, y, width, height = one['bbox']
        sides = dict(xmin=x + 1, ymin=y + 1, xmax=x + width + 1, ymax=y + height + 1)
        box = ''.join(f'<{name}>{value}</{name}>' for name, value in sides.items())
        label = DEMO_CLASSES[one['category_id'] - 1]
        names[f'{one["image_id"]:012}'].append(
            f'<object><name>{label}</name><difficult>0</difficult><bndbox>{box}</bndbox></object>'
        )
    for name, objects in names.items():
        size = '<size><width>64</width><height>64</height></size>'
        text = f'<annotation>{size}{"".join(objects)}</annotation>'
        (voc / 'Annotations' / f'{name}.xml').write_text(text)
    (voc / 'ImageSets/Main/test.txt').write_text('\n'.join(names))
    config = tmp_path / 'voc.py'
    config.write_text(
        f"""_base_ = {nano_detector!r}
test_dataloader = dict(dataset=dict(type='VOCDataset', data_root='data',
    ann_file='VOC2007/ImageSets/Main/test.txt',
    data_prefix=dict(_delete_=True, sub_data_root='VOC2007/')))
test_evaluator = dict(_delete_=True, type='VOCMetric', iou_thrs=[0.5, 0.7])
"""
    )
    out = tmp_path / 'voc.json'
    arguments = (str(config), detector_weights, voc.parent)
    options = ('--cfg-options', 'test_dataloader.dataset.pipeline.2.with_mask=False')
    assert test(*arguments, tmp_path / 'wd2', '--out', out, *options) == 0
    scores = read_scores(tmp_path / 'wd2')
    assert min(scores[f'pascal_voc/{name}'] for name in ('mAP', 'AP50', 'AP70')) > 0.8
    table = capsys.readouterr().out
    assert '| square ' in table and '| bicycle ' not in table
    assert {one['image_id'] for one in json.loads(out.read_text())} <= set(names)
    options = (*options, 'test_evaluator.metric=recall', 'test_evaluator.proposal_nums=100')
    assert test(*arguments, tmp_path / 'wd3', *options) == 0
    assert read_scores(tmp_path / 'wd3')['pascal_voc/recall@100@0.5'] > 0.95


def test_a_segmentors_scores_label_maps_and_pictures(
    nano_segmentor, segmentor_weights, demo_root, tmp_path
):
    out, pictures = tmp_path / 'out', tmp_path / 'pictures'
    options = ('--out', out, '--show-dir', pictures)
    assert test(nano_segmentor, segmentor_weights, demo_root, tmp_path / 'wd', *options) == 0
    labels = demo_root / 'ade' / 'ADEChallengeData2016' / 'annotations' / 'validation'
    names = sorted(path.name for path in labels.iterdir())
    assert sorted(path.name for path in out.iterdir()) == names
    assert sorted(f'{path.stem}.png' for path in pictures.iterdir()) == names

    # Score the label maps by hand: label k is class k - 1 in truth and in predictions.
    truth = np.stack([cv2.imread(str(labels / name), cv2.IMREAD_UNCHANGED) for name in names])
    found = np.stack([cv2.imread(str(out / name), cv2.IMREAD_UNCHANGED) for name in names])
    ious = []
    for label in range(1, 7):
        union = np.logical_or(truth == label, found == label).sum()
        if union:
            ious.append(np.logical_and(truth == label, found == label).sum() / union)
    scores = read_scores(tmp_path / 'wd')
    assert scores['mIoU'] == pytest.approx(100 * np.mean(ious), abs=0.01)
    assert scores['aAcc'] == pytest.approx(100 * (truth == found).mean(), abs=0.01)


def test_pictures_of_images_of_one_name(demo_root, tmp_path):
    """With a demo's own config, which has no hook for pictures; as predict draws them."""
    coco = tmp_path / 'coco'
    shutil.copytree(demo_root / 'coco', coco)
    path = coco / 'annotations' / 'instances_val2017.json'
    truth = json.loads(path.read_text())
    for place, image in enumerate(truth['images']):
        pixels = cv2.imread(str(coco / 'val2017' / image['file_name']))
        image['file_name'] = f'cam{place % 2}/{place // 2}.png'
        if place == 3:  # a format without colours
            image['file_name'], pixels = 'cam1/1.pgm', pixels[..., 0]
        (coco / 'val2017' / image['file_name']).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(coco / 'val2017' / image['file_name']), pixels)
    path.write_text(json.dumps(truth))
    config, checkpoint = 'demo/maskrcnn_glnet_nano', str(tmp_path / 'random.pth')
    torch.manual_seed(0)
    torch.save(build_model(load_config(config)).state_dict(), checkpoint)
    pictures = tmp_path / 'pictures'
    options = ('--show-dir', pictures, '--cfg-options', 'default_hooks.visualization.score_thr=0.1')
    assert test(config, checkpoint, coco, tmp_path / 'wd', *options) == 0
    found = sorted(path.relative_to(pictures).as_posix() for path in pictures.rglob('*.png'))
    assert found == ['cam0/0.png', 'cam0/1.png', 'cam1/0.png', 'cam1/1.pgm.png']

    images = [str(coco / 'val2017' / name) for name in found[:1]]
    arguments = [config, checkpoint, *images, '--out', str(tmp_path / 'predicted')]
    assert run(predict, [*arguments, '--score-thr', '0.1']) == 0
    predicted = cv2.imread(str(tmp_path / 'predicted' / '0.png'))
    assert (cv2.imread(str(pictures / found[0]))[:, predicted.shape[1] :] == predicted).all()
    assert (predicted != cv2.imread(images[0])).any()


def test_augmentation_averages_the_scores(
    nano_segmentor, segmentor_weights, demo_root, tmp_path, monkeypatch
):
    assert test(nano_segmentor, segmentor_weights, demo_root, tmp_path / 'plain') == 0
    from mmseg.models import SegTTAModel

    seen = []
    merge = SegTTAModel.merge_preds

    def spy(self, samples):
        seen.append([len(views) for views in samples])
        return merge(self, samples)

    monkeypatch.setattr(SegTTAModel, 'merge_preds', spy)
    assert test(nano_segmentor, segmentor_weights, demo_root, tmp_path / 'tta', '--tta') == 0
    assert seen == [[2]] * 4  # two sizes of each of four images
    assert read_scores(tmp_path / 'tta') != read_scores(tmp_path / 'plain')


def test_a_config_without_augmentation(
    nano_detector, detector_weights, demo_root, tmp_path, capsys
):
    options = ('--cfg-options', 'tta_model=None', 'tta_pipeline=None', '--tta')
    assert test(nano_detector, detector_weights, demo_root, tmp_path / 'wd', *options) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert 'has no tta_model and no tta_pipeline' in last
    assert not (tmp_path / 'wd').exists()


@pytest.mark.parametrize(
    ('kind', 'out', 'expected'),
    [
        ('det', 'folder', '.json or .pkl'),
        ('seg', 'file.pkl', 'folder'),
        ('det', f'{__file__}/results.json', f'{__file__} is not a folder'),
        ('seg', f'{__file__}/maps', f'{__file__} is not a folder'),
    ],
)
def test_an_output_that_does_not_suit_the_task(
    kind, out, expected, nano_detector, nano_segmentor, demo_root, tmp_path, capsys
):
    config = nano_detector if kind == 'det' else nano_segmentor
    assert test(config, 'any.pth', demo_root, tmp_path, '--out', out) == 1
    assert expected in capsys.readouterr().err
    (tmp_path / 'folder.json').mkdir()
    assert test(nano_detector, 'any.pth', demo_root, tmp_path, '--out', tmp_path / 'folder.json')
    assert 'folder.json: is a folder' in capsys.readouterr().err


def test_published_checkpoints_without_a_state_dict_key(
    nano_detector, detector_weights, demo_root, tmp_path
):
    state = torch.load(detector_weights, weights_only=True)['state_dict']
    bare = {f'module.{key}': value for key, value in state.items()}
    torch.save(bare, tmp_path / 'bare.pth')
    assert test(nano_detector, str(tmp_path / 'bare.pth'), demo_root, tmp_path / 'wd') == 0
    assert 'coco/bbox_mAP' in read_scores(tmp_path / 'wd')


@pytest.mark.parametrize('options', [(), ('--tta',)], ids=str)
def test_a_fused_backbone_scores_the_same(
    options, nano_segmentor, segmentor_weights, demo_root, tmp_path, monkeypatch
):
    fused = []
    fuse = PyramidBackbone.fuse
    monkeypatch.setattr(PyramidBackbone, 'fuse', lambda self: fused.append(fuse(self)))
    for name, more in (('plain', ()), ('fused', ('--fuse',))):
        work_dir = tmp_path / name
        arguments = (nano_segmentor, segmentor_weights, demo_root, work_dir, *options, *more)
        assert test(*arguments) == 0
    assert len(fused) == 1 and fused[0].fused
    plain, fused_scores = read_scores(tmp_path / 'plain'), read_scores(tmp_path / 'fused')
    for metric in ('mIoU', 'aAcc'):  # per cent
        assert fused_scores[metric] == pytest.approx(plain[metric], abs=0.05)


def test_the_screen_has_the_scores_and_the_log_the_rest(
    nano_segmentor, segmentor_weights, demo_root, tmp_path, capfd
):
    arguments = (nano_segmentor, segmentor_weights, demo_root)
    assert test(*arguments, tmp_path / 'wd') == 0
    out, err = capfd.readouterr()
    assert len(out.splitlines()) < 30 and len(err.splitlines()) < 4
    assert 'batch 4/4' in err.splitlines()[-1]
    (path,) = (tmp_path / 'wd').glob('*/*.log')
    lines = out.splitlines()
    assert lines[-1] == f'Log: {path}'
    scores = read_scores(tmp_path / 'wd')
    printed = {name: float(value) for name, value in (line.split() for line in lines[-4:-1])}
    assert printed == {name: pytest.approx(scores[name], abs=1e-3) for name in printed}
    assert set(printed) == {'aAcc', 'mIoU', 'mAcc'}
    log = path.read_text()
    assert 'System environment' in log and 'test_dataloader' in log
    for name in DEMO_SEG_CLASSES:  # the table of classes
        assert name in out and name in log

    assert test(*arguments, tmp_path / 'wd2', '--debug') == 0
    assert 'System environment' in capfd.readouterr().out
