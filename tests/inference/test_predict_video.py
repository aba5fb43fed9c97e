"""tools/predict.py on videos: each frame against the prediction on that frame alone."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
from mmdet.apis import inference_detector, init_detector
from mmseg.apis import inference_model, init_model
from PIL import Image
from pycocotools import mask as run_lengths

from glmix_mm.cli import run
from glmix_mm.data.demo_set import DEMO_CLASSES, DEMO_SEG_CLASSES
from glmix_mm.inference.predict import main

FRAMES, RATE = 3, 10.0


@pytest.fixture
def call(capsys):
    return lambda *args: (run(main, [*map(str, args)]), *capsys.readouterr())


@pytest.fixture(scope='module')
def video(demo_root, tmp_path_factory):
    """A video of three images of the demo set, 64 x 64."""
    path = tmp_path_factory.mktemp('video') / 'shapes.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), RATE, (64, 64))
    for image in sorted((demo_root / 'coco' / 'val2017').iterdir())[:FRAMES]:
        writer.write(cv2.imread(str(image)))
    writer.release()
    return path


def frames_of(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while (frame := capture.read()[1]) is not None:
        frames.append(frame)
    return frames, capture.get(cv2.CAP_PROP_FPS)


def records_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_detector(call, nano_detector, detector_weights, video, tmp_path):
    options = ('--out', tmp_path, '--score-thr', 0.15, '--device', 'cpu')
    status, printed, _ = call(nano_detector, detector_weights, video, *options)
    assert status == 0
    assert printed.splitlines() == [str(tmp_path / f'shapes.{end}') for end in ('mp4', 'jsonl')]
    drawn, rate = frames_of(tmp_path / 'shapes.mp4')
    frames, _ = frames_of(video)
    assert (len(drawn), rate) == (FRAMES, RATE)
    model = init_detector(nano_detector, detector_weights, device='cpu')
    records = records_of(tmp_path / 'shapes.jsonl')
    for number, (record, frame) in enumerate(zip(records, frames, strict=True)):
        assert (record['frame'], record['seconds']) == (number, pytest.approx(number / RATE))
        expected = inference_detector(model, frame).pred_instances
        expected = expected[expected.scores >= 0.15]
        assert len(record['annotations']) == len(expected)
        for annotation, item in zip(record['annotations'], expected, strict=True):
            assert annotation['name'] == DEMO_CLASSES[item.labels.item()]
            assert annotation['score'] == pytest.approx(item.scores.item())
            mask = run_lengths.decode(annotation['segmentation'])
            assert (mask == item.masks[0].numpy()).all()
    assert any(record['annotations'] for record in records)


def test_a_segmentor(call, nano_segmentor, segmentor_weights, video, tmp_path):
    status, printed, _ = call(nano_segmentor, segmentor_weights, video, '--out', tmp_path)
    assert status == 0
    assert printed.splitlines()[-1] == str(tmp_path / 'shapes_legend.png')
    model = init_model(nano_segmentor, segmentor_weights, device='cpu')
    model.cfg.test_pipeline = model.cfg.test_dataloader.dataset.pipeline
    frames, _ = frames_of(video)
    drawn, _ = frames_of(tmp_path / 'shapes.mp4')
    assert [frame.shape for frame in drawn] == [frame.shape for frame in frames]
    seen = set()
    for record, frame in zip(records_of(tmp_path / 'shapes.jsonl'), frames, strict=True):
        expected = inference_model(model, frame).pred_sem_seg.data[0].numpy()
        found = np.full_like(expected, -1)
        for segment in record['segments']:
            assert segment['name'] == DEMO_SEG_CLASSES[segment['label']]
            mask = run_lengths.decode(segment['segmentation']).astype(bool)
            assert mask.sum() == segment['area']
            found[mask] = segment['label']
            seen.add(segment['label'])
        assert (found == expected).all()
    legend = np.asarray(Image.open(tmp_path / 'shapes_legend.png')).reshape(-1, 3)
    _, counts = np.unique(legend[legend.any(1)], axis=0, return_counts=True)
    assert (counts > 250).sum() == len(seen) + 1  # a square of each, and white


def test_the_drawing_is_in_the_frames_own_colours(
    call, nano_detector, detector_weights, video, tmp_path
):
    options = ('--out', tmp_path, '--score-thr', 1.0)  # nothing is drawn
    assert call(nano_detector, detector_weights, video, *options)[0] == 0
    for frame, drawn in zip(
        frames_of(video)[0], frames_of(tmp_path / 'shapes.mp4')[0], strict=True
    ):
        means = [picture.reshape(-1, 3).mean(0) for picture in (frame, drawn)]
        np.testing.assert_allclose(*means, atol=4)  # of the codec


def test_broken_videos_are_reported_and_the_rest_is_done(
    call, nano_detector, detector_weights, video, demo_root, tmp_path
):
    text = tmp_path / 'text.mp4'
    text.write_text('not a video')
    short = tmp_path / 'short.avi'
    content = video.read_bytes()
    short.write_bytes(content[: len(content) // 2])
    good = tmp_path / 'good.avi'
    shutil.copy(video, good)
    image = next((demo_root / 'coco' / 'val2017').iterdir())
    out = tmp_path / 'out'
    inputs = (text, tmp_path / 'none.mp4', short, good, image)
    status, printed, err = call(nano_detector, detector_weights, *inputs, '--out', out)
    assert status == 1
    assert re.search(r'^skipped: .*text.mp4: .*\(11 bytes\)$', err, re.M)
    assert re.search(r'^skipped: .*none.mp4: no such file$', err, re.M)
    assert re.search(r'^skipped: .*short.avi: ', err, re.M)
    last = err.splitlines()[-1]
    assert re.match('error: 3 of 5 .*text.mp4, .*none', last)
    assert str(out / 'good.mp4') in printed and str(out / f'{image.stem}.png') in printed
    assert not [path for path in out.iterdir() if path.name.startswith('.')]
    assert not (out / 'text.mp4').exists()
