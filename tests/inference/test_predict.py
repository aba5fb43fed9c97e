"""tools/predict.py from start to end: against the models' own outputs on the same images."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmseg.apis import inference_model, init_model
from PIL import Image
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO

from glmix_mm import load
from glmix_mm.cli import run
from glmix_mm.data.demo_set import DEMO_CLASSES, DEMO_SEG_CLASSES
from glmix_mm.inference.predict import main


@pytest.fixture
def call(capsys):
    return lambda *args: (run(main, [*map(str, args)]), *capsys.readouterr())


@pytest.fixture
def photos(demo_root, tmp_path):
    """A folder of two images, one that is none, and a file of another kind."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    for path in sorted((demo_root / 'coco' / 'val2017').iterdir())[:2]:
        shutil.copy(path, folder)
    (folder / 'broken.jpg').write_bytes(b'\xff\xd8 no more')
    (folder / 'notes.txt').write_text('not an image')
    return folder


def good(folder):
    return sorted(path for path in folder.iterdir() if path.stem not in ('broken', 'notes'))


def check_skipped(status, err):
    assert status == 1
    assert re.search(r'^skipped: .*broken.jpg: .*\(10 bytes\)', err, re.M)
    assert re.match(r'error: 1 of 3 images .*broken.jpg', err.splitlines()[-1])


def test_detections(call, nano_detector, detector_weights, photos, tmp_path):
    out = tmp_path / 'out'
    options = ('--out', out, '--score-thr', 0.15, '--device', 'cpu')
    status, printed, err = call(nano_detector, detector_weights, photos, *options)
    check_skipped(status, err)
    files = [out / f'{path.stem}.png' for path in good(photos)] + [out / 'predictions.json']
    assert printed.splitlines() == [str(path) for path in files]
    coco = COCO(out / 'predictions.json')  # a layout that COCO's own code reads
    assert [coco.cats[i]['name'] for i in sorted(coco.cats)] == list(DEMO_CLASSES)

    model = init_detector(nano_detector, detector_weights, device='cpu')
    drawn = 0
    for number, path in enumerate(good(photos), 1):
        image = coco.imgs[number]
        assert (image['file_name'], image['height'], image['width']) == (str(path), 64, 64)
        expected = inference_detector(model, str(path)).pred_instances
        expected = expected[expected.scores >= 0.15]
        found = coco.imgToAnns[number]
        assert len(found) == len(expected)
        for annotation, item in zip(found, expected, strict=True):
            assert annotation['category_id'] == item.labels.item() + 1
            assert annotation['score'] == pytest.approx(item.scores.item())
            x, y, width, height = annotation['bbox']
            corners = [x, y, x + width, y + height]
            np.testing.assert_allclose(corners, item.bboxes[0].numpy(), rtol=1e-4, atol=1e-3)
            mask = run_lengths.decode(annotation['segmentation'])
            assert (mask == item.masks[0].numpy()).all()
            assert annotation['area'] == mask.sum()
        picture = np.asarray(Image.open(out / f'{path.stem}.png'))
        assert picture.shape == (64, 64, 3)
        drawn += (picture != np.asarray(Image.open(path))).any()
    assert drawn and sum(map(len, coco.imgToAnns.values()))


def test_the_numbers_of_the_data_set(
    call, nano_detector, detector_weights, demo_root, photos, tmp_path
):
    root = tmp_path / 'set'
    (root / 'annotations').mkdir(parents=True)
    (root / 'val2017').symlink_to(demo_root / 'coco' / 'val2017')
    file = 'annotations/instances_val2017.json'
    content = json.loads((demo_root / 'coco' / file).read_text())
    for entry in (*content['images'], *content['categories']):
        entry['id'] = 1000 - entry['id']
    (root / file).write_text(json.dumps(content))
    config = tmp_path / 'own.py'
    own = f"test_dataloader = dict(dataset=dict(data_root='{root}'))"
    config.write_text(f'_base_ = {nano_detector!r}\n{own}\n')
    names = {entry['file_name']: entry['id'] for entry in content['images']}

    stranger = good(photos)[0]
    known = sorted((root / 'val2017').iterdir())[1:3]
    out = tmp_path / 'out'
    options = ('--out', out, '--score-thr', 0.1)
    assert call(config, detector_weights, *known, stranger, *options)[0] == 0
    results = json.loads((out / 'predictions.json').read_text())
    numbers = [image['id'] for image in results['images']]
    assert numbers == [*(names[path.name] for path in known), max(names.values()) + 1]
    categories = {entry['id']: entry['name'] for entry in results['categories']}
    assert categories == {entry['id']: entry['name'] for entry in content['categories']}
    model = init_detector(nano_detector, detector_weights, device='cpu')
    expected = inference_detector(model, str(known[0])).pred_instances
    expected = expected[expected.scores >= 0.1]
    found = [one for one in results['annotations'] if one['image_id'] == numbers[0]]
    labels = [DEMO_CLASSES.index(categories[one['category_id']]) for one in found]
    assert labels == expected.labels.tolist() and labels


def test_label_maps(call, nano_segmentor, segmentor_weights, photos, tmp_path):
    out = tmp_path / 'out'
    status, _, err = call(nano_segmentor, segmentor_weights, photos, '--out', out)
    check_skipped(status, err)
    results = json.loads((out / 'predictions.json').read_text())
    assert results['classes'] == list(DEMO_SEG_CLASSES)
    model = init_model(nano_segmentor, segmentor_weights, device='cpu')
    model.cfg.test_pipeline = model.cfg.test_dataloader.dataset.pipeline
    assert [image['file_name'] for image in results['images']] == list(map(str, good(photos)))
    for image in results['images']:
        expected = inference_model(model, image['file_name']).pred_sem_seg.data[0].numpy()
        found = np.asarray(Image.open(out / image['label_map']))
        assert found.dtype == np.uint8
        assert (found == expected).all()
        assert (image['height'], image['width']) == found.shape
        picture = np.asarray(Image.open(out / Path(image['label_map']).name))
        names = [results['classes'][label] for label in np.unique(found)]
        # A legend of these below, no higher than the picture or in one line.
        assert 18 < picture.shape[0] - found.shape[0] <= max(found.shape[0], 46)
        below = picture[found.shape[0] :].reshape(-1, 3)
        _, counts = np.unique(below[below.any(1)], axis=0, return_counts=True)
        assert (counts > 250).sum() == len(names) + 1  # a square of each, and white


def test_images_of_the_same_name(call, nano_segmentor, segmentor_weights, photos, tmp_path):
    path = good(photos)[0]
    other = tmp_path / 'other'
    other.mkdir()
    shutil.copy(path, other)
    out = tmp_path / 'out'
    assert call(nano_segmentor, segmentor_weights, path, other, '--out', out)[0] == 0
    names = {file.name for file in out.glob('*.png')}
    assert names == {f'{path.stem}.png', f'{path.stem}_2.png'}


def test_classes_without_a_record_are_the_configs(call, nano_detector, detector_weights, photos):
    content = torch.load(detector_weights, weights_only=True)
    bare = photos.parent / 'bare.pth'
    torch.save(content['state_dict'], bare)
    out = photos.parent / 'out'
    status, *_ = call(nano_detector, bare, good(photos)[0], '--out', out)
    assert status == 0
    results = json.loads((out / 'predictions.json').read_text())
    assert [category['name'] for category in results['categories']] == list(DEMO_CLASSES)


@pytest.mark.parametrize('task', ['detector', 'segmentor'])
def test_a_checkpoint_of_older_libraries_gives_its_names(task, call, request, photos, tmp_path):
    config = request.getfixturevalue(f'nano_{task}')
    own = {'detector': DEMO_CLASSES, 'segmentor': DEMO_SEG_CLASSES}[task]
    content = torch.load(request.getfixturevalue(f'{task}_weights'), weights_only=True)
    image, out, path = good(photos)[0], tmp_path / 'out', tmp_path / 'old.pth'
    for names, differs in ((own, False), ([*own[:-1], 'wheel'], True)):
        meta = dict(CLASSES=tuple(names), PALETTE=None, mmdet_version='2.28.0')
        torch.save(dict(state_dict=content['state_dict'], meta=meta), path)
        status, _, err = call(config, path, image, '--out', out, '--device', 'cpu')
        assert status == 0
        results = json.loads((out / 'predictions.json').read_text())
        categories = results.get('categories', [])
        found = results.get('classes') or [category['name'] for category in categories]
        assert found == list(names)
        notes = [line for line in err.splitlines() if line.startswith('note: ')]
        assert len(notes) == differs
        assert not differs or ("'wheel'" in notes[0] and repr(own[-1]) in notes[0])
    with pytest.warns(UserWarning, match="'wheel' there"):
        assert load(config, path, 'cpu').classes == list(names)


def test_mistakes_end_in_one_line(
    call, nano_detector, nano_segmentor, detector_weights, photos, tmp_path
):
    empty = tmp_path / 'empty'
    empty.mkdir()
    image = good(photos)[0]
    for arguments, message in (
        ([nano_detector, detector_weights, empty], '.*empty: no images'),
        ([nano_detector, detector_weights, image, image], '.* more than once'),
        ([nano_detector, tmp_path / 'none.pth', image], '.*none.pth: no such checkpoint'),
        ([nano_segmentor, detector_weights, image], '.*detector.pth does not fit .*segmentor'),
        ([nano_detector, detector_weights, image, '--device', 'tpu'], '--device tpu: expected'),
    ):
        status, out, err = call(*arguments, '--out', tmp_path / 'out')
        assert (status, out) == (1, '')
        assert re.match(f'error: {message}', err.splitlines()[-1])
    assert not (tmp_path / 'out').exists()


def test_a_result_that_cannot_be_written(call, nano_detector, detector_weights, photos, tmp_path):
    (tmp_path / 'file').write_text('in the way')
    arguments = (nano_detector, detector_weights, photos, '--out', tmp_path / 'file')
    status, _, err = call(*arguments)
    assert status == 1
    assert re.match(r'error: .*file.* cannot be written: ', err.splitlines()[-1])
