"""tools/export.py: ONNX Runtime beside torch at several sizes, and the runner beside the libraries.

``export_proof.py`` does the same for the shipped variants and every family with every method.
"""

import json
import shutil
import subprocess
import sys
from functools import partial

import cv2
import numpy as np
import onnx
import pytest
import torch
from exported_models import DILATEFORMER, Case
from mmdet.apis import inference_detector, init_detector
from mmengine.config import ConfigDict
from mmseg.apis import inference_model, init_model
from PIL import Image
from pycocotools import mask as coco_mask

from glmix_mm.cli import run
from glmix_mm.config.load_config import load_config
from glmix_mm.deploy import export
from glmix_mm.deploy.compare_outputs import Exported
from glmix_mm.deploy.settings import find_task, runner_settings
from glmix_mm.errors import UserError
from glmix_mm.inference import predict
from glmix_mm.models import DilateFormer

pytestmark = pytest.mark.slow

SIZES = ((2, 97, 131), (1, 64, 96), (1, 33, 75))  # images, height and width in px


@pytest.fixture
def unoptimised(monkeypatch):
    """Leave the exporter's optimiser out, a third of its time; some tests go through it."""
    monkeypatch.setattr(torch.onnx, 'export', partial(torch.onnx.export, optimize=False))


def compare(path, function, sizes=SIZES):
    """Compare every output with the model's own: 1e-4 of its standard deviation at most."""
    exported = Exported(path)
    for n, height, width in sizes:
        image = torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(height))
        with torch.no_grad():
            expected = [tensor.numpy() for tensor in function(image)]
        found = exported(image)
        assert [x.shape for x in found] == [x.shape for x in expected]
        for one, other in zip(found, expected, strict=True):
            assert np.abs(one - other).max() < 1e-4 * other.std()


def test_mask_rcnn_with_glnet(tmp_path, photos, runner):
    found = Case('maskrcnn', tmp_path).export('--dynamic')
    detector = init_detector(str(found.config), str(found.weights), device='cpu')

    def raw(image):
        maps = detector.extract_feat(image)
        scores, deltas = detector.rpn_head(maps)
        return [*scores, *deltas, *maps[:4]]

    compare(found.path, raw)
    model = runner.Model(found.path, threads=1)
    check_metadata(found.path)
    for photo in photos:
        compare_detections(model(photo), inference_detector(detector, str(photo)))
    check_written(found, runner, photos)


def check_written(case, runner, photos):
    """Check that the runner and predict write the same, but for what rounding makes of it."""
    written = []
    tools = (runner.main, [case.path]), (predict.main, [case.config, case.weights])
    for place, (main, arguments) in enumerate(tools):
        out = case.path.parent / f'written{place}'
        main([*map(str, [*arguments, *photos, '--out', out, '--score-thr', 0.1])])
        written.append(json.loads((out / 'predictions.json').read_text()))
    found, expected = written
    assert list(found) == list(expected)
    assert found['images'] == expected['images']
    assert found['categories'] == expected['categories']
    assert len(found['annotations']) == len(expected['annotations']) > 5
    for one, other in zip(found['annotations'], expected['annotations'], strict=True):
        assert set(one) == set(other)
        for key in ('id', 'image_id', 'category_id', 'iscrowd'):
            assert one[key] == other[key]
        assert one['bbox'] == pytest.approx(other['bbox'], abs=0.01)
        assert one['score'] == pytest.approx(other['score'], abs=1e-4)
        assert one['area'] == pytest.approx(other['area'], abs=2)
        masks = [coco_mask.decode(item['segmentation']) for item in (one, other)]
        assert (masks[0] != masks[1]).sum() <= 2


def check_metadata(path):
    """Check that what the runner needs to know, and nothing else, is said in the file."""
    model = onnx.load(path)
    (entry,) = [entry for entry in model.metadata_props if entry.key == 'glmix_mm']
    settings = json.loads(entry.value)
    assert (settings['task'], settings['size']) == ('instances', None)
    assert settings['input']['mean'] == [123.675, 116.28, 103.53]
    assert settings['steps'] == [dict(kind='resize', scale=[96, 64], keep_ratio=True)]
    assert settings['anchors']['strides'] == [[s, s] for s in (4, 8, 16, 32, 64)]
    assert settings['masks'] == dict(threshold=0.5)
    sides = [axis.dim_param for axis in model.graph.input[0].type.tensor_type.shape.dim]
    assert sides == ['batch', '', 'height', 'width']


def compare_detections(found, expected):
    """Compare boxes to 0.01 px, scores to 1e-4, and masks pixel by pixel."""
    expected = expected.pred_instances
    assert len(found['boxes']) == len(expected) > 5
    np.testing.assert_allclose(found['boxes'], expected.bboxes.numpy(), rtol=0, atol=0.01)
    np.testing.assert_allclose(found['scores'], expected.scores.numpy(), rtol=0, atol=1e-4)
    assert (found['labels'] == expected.labels.numpy()).all()
    if 'masks' in expected:
        assert found['masks'].any()
        assert (found['masks'] != expected.masks.numpy()).mean() < 1e-4


def test_retinanet_with_dilateformer(tmp_path, photos, runner, unoptimised):
    found = Case('retinanet', tmp_path).export('--dynamic')
    detector = init_detector(str(found.config), str(found.weights), device='cpu')

    def raw(image):
        scores, deltas = detector.bbox_head(detector.extract_feat(image))
        return [*scores, *deltas]

    compare(found.path, raw)
    model = runner.Model(found.path, threads=1)
    for photo in photos:
        compare_detections(model(photo), inference_detector(detector, str(photo)))


def test_semantic_fpn_with_fcvit(tmp_path, photos, runner, unoptimised):
    found = Case('semfpn', tmp_path).export('--dynamic')
    segmentor = init_model(str(found.config), str(found.weights), device='cpu')
    compare(found.path, lambda image: [segmentor.decode_head(segmentor.extract_feat(image))])
    segmentor.cfg.test_pipeline = found.cfg.test_dataloader.dataset.pipeline
    model = runner.Model(found.path, threads=1)
    for photo in photos:
        expected = inference_model(segmentor, str(photo)).pred_sem_seg.data[0].numpy()
        labels = model(photo)['labels']
        assert len(np.unique(expected)) > 1
        assert (labels != expected).mean() < 1e-3
    bgr = cv2.imread(str(photos[0]))
    expected = model(photos[0])['labels']
    assert (model(bgr, color='bgr')['labels'] == expected).all()
    assert (model(bgr[..., ::-1])['labels'] == expected).all()
    assert (model(Image.open(photos[0]))['labels'] == expected).all()
    with pytest.raises(runner.RunnerError, match=r'\(9, 9\) of uint8; expected \(h'):
        model(np.zeros((9, 9), np.uint8))
    with pytest.raises(runner.RunnerError, match=r'of float32; expected .* uint8'):
        model(np.zeros((9, 9, 3), np.float32))
    with pytest.raises(runner.RunnerError, match="color='BGR': "):
        model(bgr, color='BGR')


def test_upernet_for_one_size_and_the_program(tmp_path, photos, runner, capsys, unoptimised):
    """The runner as users call it: a program beside the model, without torch and OpenMMLab."""
    found = Case('upernet', tmp_path).export()
    segmentor = init_model(str(found.config), str(found.weights), device='cpu')
    raw = [lambda image: [segmentor.decode_head(segmentor.extract_feat(image))]]
    compare(found.path, raw[0], [(1, 64, 96)])
    program = found.path.with_name('run_onnx.py')
    banned = ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'cv2', 'glmix_mm')
    guard = (
        f'import runpy, sys\nsys.modules.update(dict.fromkeys({banned}))\n'
        f'sys.argv[0] = {str(program)!r}\nrunpy.run_path({str(program)!r}, run_name="__main__")\n'
    )
    arguments = [found.path, photos[1], '--out', 'out', '--threads', '1']
    command = [sys.executable, '-c', guard, *map(str, arguments)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / done.stdout.strip()).read_text())
    (image,) = results['images']
    labels = np.asarray(Image.open(tmp_path / 'out' / image['label_map']))
    bad = tmp_path / 'bad.jpg'
    bad.write_bytes(b'no image')
    named = shutil.copy(photos[1], tmp_path / photos[0].name)  # as the other, elsewhere
    images = [str(path) for path in (bad, photos[0], named)]
    assert runner.main([str(found.path), *images, '--out', str(tmp_path / 'rest')]) == 1
    assert 'bad.jpg: not a readable image' in capsys.readouterr().err
    first, second = json.loads((tmp_path / 'rest/predictions.json').read_text())['images']
    stem = photos[0].stem
    assert (first['label_map'], second['label_map']) == (
        f'labels/{stem}.png',
        f'labels/{stem}_2.png',
    )
    assert (np.asarray(Image.open(tmp_path / 'rest' / second['label_map'])) == labels).all()
    # A photo of exactly this size is neither resized nor padded.
    segmentor.cfg.test_pipeline = found.cfg.test_dataloader.dataset.pipeline
    expected = inference_model(segmentor, str(photos[1])).pred_sem_seg.data[0].numpy()
    assert (labels != expected).mean() < 1e-3


def test_two_classes_with_one_output(tmp_path, photos, runner, unoptimised):
    found = Case('binary', tmp_path).export()
    segmentor = init_model(str(found.config), str(found.weights), device='cpu')
    segmentor.cfg.test_pipeline = found.cfg.test_dataloader.dataset.pipeline
    expected = inference_model(segmentor, str(photos[1])).pred_sem_seg.data[0].numpy()
    labels = runner.Model(found.path, threads=1)(photos[1])['labels']
    assert set(np.unique(expected)) == {0, 1}
    assert (labels != expected).mean() < 1e-3


def test_a_classifier(tmp_path, photos, runner, unoptimised):
    from mmpretrain.apis import ImageClassificationInferencer

    found = Case('classifier', tmp_path).export()
    model = runner.Model(found.path, threads=1)
    inferencer = ImageClassificationInferencer(found.cfg, str(found.weights), device='cpu')
    for photo in photos:
        (expected,) = inferencer(str(photo))
        scores = model(photo)['scores']
        np.testing.assert_allclose(scores, expected['pred_scores'], atol=1e-5)
    assert model.settings['classes'] == ['dark', 'light']
    out = tmp_path / 'out'
    assert runner.main([str(found.path), str(photos[0]), '--out', str(out)]) == 0
    written = json.loads((out / 'predictions.json').read_text())
    best = int(np.argmax(model(photos[0])['scores']))
    assert written['categories'] == [dict(id=1, name='dark'), dict(id=2, name='light')]
    assert written['annotations'][0]['category_id'] == best + 1
    assert sum(one['score'] for one in written['annotations']) == pytest.approx(1)


def test_a_backbone_alone_as_a_program_of_torchs_own(tmp_path, capsys):
    found = Case('retinanet', tmp_path)
    found.path = tmp_path / 'backbone.pt2'
    found.export('--backbone', '--size', '64', '96')
    assert capsys.readouterr().out.splitlines()[-1] == str(found.path)
    program = torch.export.load(found.path).module()
    image = torch.randn(1, 3, 64, 96)
    for one, other in zip(program(image), found.model.backbone(image), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)

    for out, options, message in (
        ('model.txt', (), 'model.txt: '),
        ('model.pt2', ('--latency',), '--latency '),
        ('model.onnx', ('--size', '16', '64'), '--size 16 64: '),
    ):
        arguments = [found.config, found.weights, tmp_path / out, *options]
        assert run(export.main, list(map(str, arguments))) == 1
        assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_detector_that_cannot_be_exported(tmp_path):
    """Cascade Mask R-CNN, without its heads, which take long to build."""
    cfg = load_config('cascademaskrcnn_dilateformer_tiny_3x')
    cascade = type('CascadeRCNN', (torch.nn.Module,), {})()
    cascade.backbone = DilateFormer({k: v for k, v in DILATEFORMER.items() if k != '_delete_'})
    with pytest.raises(UserError, match=r'_3x\.py: CascadeRCNN .*RetinaNet, MaskRCNN .*--backbone'):
        find_task(cascade, cfg)
    assert find_task(cascade, cfg, backbone_alone=True) == 'backbone'
    cascade.backbone = torch.nn.Identity()
    with pytest.raises(UserError, match='Identity '):
        find_task(cascade, cfg)


def test_slots_whose_number_depends_on_the_image(tmp_path):
    found = Case('upernet', tmp_path)
    found.model.backbone.stages[0].blocks[0].mixer.slot_grid = dict(slots=64)
    with pytest.raises(UserError, match=r"slot_grid=\{'slots': 64\} "):
        export.export(found.cfg, found.model, ['a'], found.path, dynamic=True)
    assert not found.path.exists()


def test_a_backbones_file_is_not_run(tmp_path, runner):
    axes = ['image', onnx.TensorProto.FLOAT, [1, 3, 32, 32]]
    values = [onnx.helper.make_tensor_value_info(*axes)]
    node = onnx.helper.make_node('Identity', ['image'], ['map0'])
    out = [onnx.helper.make_tensor_value_info('map0', *axes[1:])]
    graph = onnx.helper.make_graph([node], 'g', values, out)
    opset = [onnx.helper.make_opsetid('', 18)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.save(model, tmp_path / 'none.onnx')
    with pytest.raises(runner.RunnerError, match=r'none.onnx .*settings'):
        runner.Model(tmp_path / 'none.onnx')
    model.metadata_props.add(key='glmix_mm', value='{"task": "backbone"}')
    onnx.save(model, tmp_path / 'backbone.onnx')
    with pytest.raises(runner.RunnerError, match='is a backbone'):
        runner.Model(tmp_path / 'backbone.onnx')


def test_settings_that_a_runner_does_not_know(tmp_path):
    found = Case('semfpn', tmp_path)
    found.model.test_cfg.mode = 'slide'
    with pytest.raises(UserError, match=r"test_cfg.mode is 'slide'; .*'whole'"):
        find_task(found.model, found.cfg)
    found.model.test_cfg.mode = 'whole'
    with pytest.raises(UserError, match=r'--size 50 96: .* multiples of 32'):
        runner_settings(found.cfg, found.model, 'segmentation', ['a'], (50, 96))
    other = load_config('semfpn_glnet_nano')
    with pytest.raises(UserError, match=r'--size 96 128: .* 128 128'):
        runner_settings(other, found.model, 'segmentation', ['a'], (96, 128))
    other = load_config('imagenet/fcvit_tiny')
    with pytest.raises(UserError, match=r'--size 96 96: .* 224 224'):
        runner_settings(other, None, 'classification', ['a'], (96, 96))
    cfg = found.cfg.copy()
    cfg.test_dataloader.dataset.pipeline[1] = ConfigDict(type='Pad', size=(1, 1))
    with pytest.raises(UserError, match=r"\{'type': 'Pad'"):
        runner_settings(cfg, found.model, 'segmentation', ['a'], None)
