"""What the page shows equals what predict and slots give; what it refuses; no browser."""

import io
import json
import socket
import sys

import numpy as np
import pytest
from PIL import Image

from glmix_mm import load
from glmix_mm.app import command
from glmix_mm.app.viewer import MAX_BYTES, Viewer, read_upload, slots_at
from glmix_mm.cli import run
from glmix_mm.config.load_config import load_config
from glmix_mm.errors import UserError
from glmix_mm.inference.coco_results import known_ids
from glmix_mm.inference.predict import main as predict
from glmix_mm.slots.assignments import slot_assignments
from glmix_mm.slots.draw_slots import load_backbone, prepare_image
from glmix_mm.utils.pictures import read_image


@pytest.fixture(scope='module')
def photo(demo_root):
    return sorted((demo_root / 'coco' / 'val2017').iterdir())[0]


def viewer_of(config, checkpoint):
    cfg = load_config(str(config))
    return Viewer(load(cfg, checkpoint, 'cpu'), cfg, 'title', known_ids(cfg))


@pytest.fixture(scope='module')
def detector(nano_detector, detector_weights):
    return viewer_of(nano_detector, detector_weights)


def check_files(viewer, photo, config, checkpoint, out):
    """The files are those of `glmix predict`, but for the picture's path."""
    assert run(predict, [str(config), str(checkpoint), str(photo), '--out', str(out)]) == 0
    image = read_upload(photo.read_bytes(), photo.name)
    files = viewer.files(image, viewer.predict(image), photo.name, 0.3)
    written = {str(p.relative_to(out)): p for p in out.rglob('*') if p.is_file()}
    assert files.keys() == written.keys()
    for name, content in files.items():
        if name.endswith('.png'):
            pixels = np.asarray(Image.open(io.BytesIO(content)))
            assert (pixels == np.asarray(Image.open(written[name]))).all()
    expected = json.loads(written['predictions.json'].read_text())
    expected['images'][0]['file_name'] = photo.name
    assert json.loads(files['predictions.json']) == expected


def test_a_detector(detector, nano_detector, detector_weights, photo, tmp_path):
    check_files(detector, photo, nano_detector, detector_weights, tmp_path / 'out')
    sample = detector.predict(read_image(photo))
    scores = sample.pred_instances.scores
    line, *found = detector.summary(sample, 0.2)
    assert line == f'{(scores >= 0.2).sum()} found with a score of 0.20 or more'
    assert [entry.rpartition(': ')[2] for entry in found] == [
        f'{s:.3f}' for s in scores if s >= 0.2
    ]


def test_a_segmentor(nano_segmentor, segmentor_weights, photo, tmp_path):
    viewer = viewer_of(nano_segmentor, segmentor_weights)
    check_files(viewer, photo, nano_segmentor, segmentor_weights, tmp_path / 'out')


def test_a_classifier(nano_classifier, classifier_run, photo, tmp_path):
    checkpoint = str(next(classifier_run.glob('epoch_*.pth')))
    viewer = viewer_of(nano_classifier, checkpoint)
    check_files(viewer, photo, nano_classifier, checkpoint, tmp_path / 'out')
    scores = viewer.predict(read_image(photo)).pred_score
    label = scores.argmax()
    assert viewer.summary(viewer.predict(read_image(photo)), 0.3)[0] == (
        f'{viewer.predictor.classes[label]}: {scores[label]:.3f}'
    )


def test_slots_are_those_of_the_command(detector, nano_detector, detector_weights, photo):
    image = read_upload(photo.read_bytes(), photo.name)
    cfg = load_config(nano_detector)
    backbone = load_backbone(cfg, '', detector_weights)
    assert detector.blocks and detector.grids[0] is None
    for block in (number for numbers in detector.blocks.values() for number in numbers):
        inputs = prepare_image(read_image(photo), cfg)
        expected = slot_assignments(backbone, inputs, [block])[block][0].numpy()
        shares = detector.shares(image, block)
        assert (shares == expected).all()
        _, height, width = shares.shape
        here = expected[:, height - 1, int(0.4 * width)]
        found = slots_at(shares, 0.4, 0.999)
        assert next(iter(found)) == here.argmax()
        assert list(found.values()) == sorted(here.tolist(), reverse=True)[: len(found)]


def test_the_number_of_slots_changes_for_one_call(detector, photo):
    image = read_image(photo)
    block = detector.blocks[max(detector.blocks)][0]
    own = detector.shares(image, block)
    boxes = detector.predict(image).pred_instances.bboxes
    assert detector.shares(image, block, (4, 4)).shape == (16, *own.shape[1:])
    assert not detector.predict(image, (4, 4)).pred_instances.bboxes.equal(boxes)
    assert (detector.shares(image, block) == own).all()
    assert detector.predict(image).pred_instances.bboxes.equal(boxes)


def to_bytes(size, kind='PNG'):
    data = io.BytesIO()
    Image.new('1', size).save(data, kind)
    return data.getvalue()


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'', 'not a picture'),
        (b'not a picture', 'not a picture'),
        (to_bytes((20_000, 20_000)), 'is too large.*20 MB and 16 million pixels'),
        (to_bytes((4001, 4000)), 'is too large'),
        (to_bytes((8, 8)) + bytes(MAX_BYTES), 'is too large'),
        (to_bytes((80, 80))[:-30], 'damaged'),
    ],
)
def test_what_is_refused(data, message):
    with pytest.raises(UserError, match=f'^photo.png: .*{message}'):
        read_upload(data, 'photo.png')


def test_one_pixel(detector):
    image = read_upload(to_bytes((1, 1)), 'one.png')
    assert image.shape == (1, 1, 3)
    sample = detector.predict(image)
    assert detector.files(image, sample, 'one.png', 0.3)
    assert np.isfinite(detector.shares(image, 0)).all()


def test_mistakes_end_in_one_line(nano_detector, detector_weights, capsys, monkeypatch):
    pytest.importorskip('nicegui', reason='nicegui, playwright or Chromium is not installed')
    arguments = [nano_detector, detector_weights, '--device', 'cpu', '--port']
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = str(taken.getsockname()[1])
        assert run(command.main, [*arguments, port]) == 1
    assert f'error: cannot listen at 127.0.0.1, port {port}: ' in capsys.readouterr().err
    assert run(command.main, [*arguments, '70000']) == 1
    assert 'error: --port 70000: ' in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, 'nicegui', None)
    monkeypatch.delitem(sys.modules, 'glmix_mm.app.page', raising=False)
    assert run(command.main, [*arguments, port]) == 1
    assert "pip install 'glmix_mm[lite,app]'" in capsys.readouterr().err
