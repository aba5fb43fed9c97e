"""`from glmix_mm import load` beside the libraries' own functions."""

import functools
import re
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmseg.apis import inference_model, init_model
from mmseg.structures import SegDataSample
from PIL import Image
from pycocotools.coco import COCO

from glmix_mm import load
from glmix_mm.data.demo_set import DEMO_CLASSES
from glmix_mm.errors import UserError
from glmix_mm.inference.load import to_rgb


@pytest.fixture
def photos(demo_root):
    return sorted((demo_root / 'coco' / 'val2017').iterdir())[:2]


def test_a_detector(nano_detector, detector_weights, photos):
    model = load(nano_detector, checkpoint=detector_weights, device='cpu')
    assert model.classes == list(DEMO_CLASSES)
    plain = init_detector(nano_detector, detector_weights, device='cpu')
    results = model(photos)
    assert len(results) == 2
    for photo, result in zip(photos, results, strict=True):
        assert isinstance(result, DetDataSample)
        expected = inference_detector(plain, str(photo)).pred_instances
        assert len(expected)
        for key in ('bboxes', 'scores', 'labels', 'masks'):
            assert torch.equal(result.pred_instances[key], expected[key])
    check_pixels(model, photos, lambda result: result.pred_instances.bboxes)


def check_pixels(model, photos, part):
    """Pixels give what their file gives, and files do so after pixels as well."""
    expected = [part(result) for result in model(photos)]
    bgr = cv2.imread(str(photos[0]))
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    images = [rgb, photos[1], str(photos[0]), Image.open(photos[1])]
    for result, index in zip(model(images), (0, 1, 0, 1), strict=True):
        assert torch.equal(part(result), expected[index])
    assert torch.equal(part(model(bgr, color='bgr')), expected[0])
    assert not torch.equal(part(model(bgr)), expected[0])


def test_what_is_made_of_a_result(nano_detector, detector_weights, photos, demo_root):
    model = load(nano_detector, detector_weights, 'cpu')
    expected = "Predictor(MaskRCNN with GLNet; 5 classes: 'disc', 'square', 'triangle', 'star', "
    assert repr(model) == expected + "'ring'; on cpu)"
    truth = COCO(demo_root / 'coco' / 'annotations' / 'instances_val2017.json')
    (image,) = [im for im in truth.imgs.values() if im['file_name'] == photos[0].name]
    result = model(photos[0])
    ids = [category['id'] for category in truth.cats.values()]
    found = truth.loadRes(model.to_coco(result, image['id'], ids)).anns.values()
    items = result.pred_instances
    assert len(found) == len(items)
    for ann, box, label in zip(found, items.bboxes.tolist(), items.labels, strict=True):
        x, y, width, height = ann['bbox']
        assert [x, y, x + width, y + height] == pytest.approx(box, abs=1e-3)
        assert truth.cats[ann['category_id']]['name'] == model.classes[label]
        assert ann['image_id'] == image['id'] and 'counts' in ann['segmentation']
    assert model.to_coco(result)[0]['category_id'] == items.labels[0] + 1
    with pytest.raises(UserError, match='found 1 category_ids; expected 5'):
        model.to_coco(result, category_ids=[1])

    picture = model.draw(result, photos[0], score_thr=0.1)
    pixels = np.asarray(Image.open(photos[0]))
    assert picture.shape == pixels.shape and (picture != pixels).any()
    assert (model.draw(result, pixels[..., ::-1], 0.1, 'bgr') == picture).all()
    with pytest.raises(UserError, match=r'64 x 32 px; .* 64 x 64 px'):
        model.draw(result, pixels[:32])
    for use in (lambda results: model.draw(results, photos[0]), model.to_coco):
        with pytest.raises(UserError, match='found list; '):
            use([result])


def test_a_config_and_a_device_that_are_objects(nano_detector, detector_weights, photos):
    model = load(Config.fromfile(nano_detector), detector_weights, torch.device('cpu'))
    expected = load(nano_detector, detector_weights, 'cpu')(photos[0]).pred_instances
    assert torch.equal(model(photos[0]).pred_instances.bboxes, expected.bboxes)


def test_images_that_cannot_be_read(nano_detector, detector_weights, photos, tmp_path):
    model = load(nano_detector, detector_weights, 'cpu')
    (tmp_path / 'cut.jpg').write_bytes(photos[0].read_bytes()[:-200])
    (tmp_path / 'text.png').write_text('no image')
    for name in ('none.jpg', 'cut.jpg', 'text.png'):
        with pytest.raises(UserError, match=re.escape(str(tmp_path / name))):
            model(tmp_path / name)
    for name, found in (('file:///photo.jpg', "'file'"), ('a\0b', 'null')):
        with pytest.raises(UserError, match=f'^{name}: .*{found}'):
            model(name)
    with pytest.raises(UserError, match=re.escape(str(tmp_path / 'cut.jpg'))):
        model(Image.open(tmp_path / 'cut.jpg'))
    for pixels, found in (
        (np.linspace(0, 1, 192, dtype=np.float32).reshape(8, 8, 3), 'float32 from 0.0 to 1.0'),
        (np.full((8, 8, 3), 300, np.uint16), 'uint16 from 300 to 300'),
        (np.zeros((8, 8, 4), np.uint8), re.escape('shape (8, 8, 4)')),
        (torch.zeros(3, 8, 8), r'Tensor of shape \(3, 8, 8\)'),
    ):
        with pytest.raises(UserError, match=f'^found .*{found}.*uint8'):
            model(pixels)
    with pytest.raises(UserError, match="color='gbr': "):
        model(np.zeros((8, 8, 3), np.uint8), color='gbr')


@pytest.mark.parametrize('mode', ['L', 'RGBA', 'I;16'])
def test_images_of_pillows_are_as_their_files(mode, tmp_path):
    rng = np.random.default_rng(0)
    kind = np.uint16 if mode == 'I;16' else np.uint8
    shape = (8, 6, 4) if mode == 'RGBA' else (8, 6)
    pixels = rng.integers(0, np.iinfo(kind).max, shape, dtype=kind)
    Image.fromarray(pixels).save(tmp_path / 'image.png')
    image = Image.open(tmp_path / 'image.png')
    assert image.mode == mode
    assert (to_rgb(image, 'rgb') == cv2.imread(str(tmp_path / 'image.png'))[..., ::-1]).all()


def test_an_image_of_pillows_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new('RGB', (16, 8)).save(tmp_path / 'turned.jpg', exif=exif)
    assert to_rgb(Image.open(tmp_path / 'turned.jpg'), 'rgb').shape == (16, 8, 3)


def test_an_address(nano_detector, detector_weights, photos):
    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            if self.path != '/cut.jpg':
                return super().do_GET()
            self.send_response(200)
            self.send_header('Content-Length', '5000')
            self.end_headers()
            self.wfile.write(b'0' * 10)

        def log_message(self, *args):
            pass

    handler = functools.partial(Handler, directory=str(photos[0].parent))
    model = load(nano_detector, detector_weights, 'cpu')
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f'http://127.0.0.1:{server.server_port}'
        result = model(f'{root}/{photos[0].name}')
        assert torch.equal(result.pred_instances.bboxes, model(photos[0]).pred_instances.bboxes)
        picture = model.draw(result, f'{root}/{photos[0].name}')
        assert (picture == model.draw(result, photos[0])).all()
        for name, found in (('none.jpg', '404'), ('cut.jpg', '10 bytes')):
            with pytest.raises(UserError, match=re.escape(f'{root}/{name}') + f': .*{found}'):
                model(f'{root}/{name}')
        server.shutdown()
    with pytest.raises(UserError, match=f'{root}/none.jpg: .*refused'):
        model(f'{root}/none.jpg')


def test_a_segmentor(nano_segmentor, segmentor_weights, photos):
    model = load(nano_segmentor, segmentor_weights, 'cpu')
    result = model(str(photos[0]))
    assert isinstance(result, SegDataSample)
    plain = init_model(nano_segmentor, segmentor_weights, device='cpu')
    plain.cfg.test_pipeline = plain.cfg.test_dataloader.dataset.pipeline
    expected = inference_model(plain, str(photos[0])).pred_sem_seg.data
    assert torch.equal(result.pred_sem_seg.data, expected)
    assert model.draw(result, photos[0])[:64, :64].shape == (64, 64, 3)
    with pytest.raises(UserError, match='to_coco is for detectors'):
        model.to_coco(result)
    check_pixels(model, photos, lambda result: result.pred_sem_seg.data)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_the_gpu_is_taken_where_there_is_one(nano_detector, detector_weights, photos):
    result = load(nano_detector, detector_weights)(photos[0]).pred_instances
    assert result.bboxes.device.type == 'cuda'
    expected = load(nano_detector, detector_weights, 'cpu')(photos[0]).pred_instances
    assert len(result) == len(expected)
    torch.testing.assert_close(result.scores.cpu(), expected.scores, atol=0.01, rtol=0)


def test_without_weights_it_says_so(photos):
    with pytest.warns(UserWarning, match='without a checkpoint'):
        model = load('semfpn_glnet_nano', device='cpu')
    assert len(model.classes) == 6
    assert model(photos[0]).pred_sem_seg.data.shape == (1, 64, 64)
    for image, message in (
        (np.zeros((9, 9), np.uint8), r'shape \(9, 9\); '),
        (None, 'found NoneType; expected'),  # what OpenCV returns for a missing file
        ('none.jpg', 'none.jpg: No such file'),
    ):
        with pytest.raises(UserError, match=message):
            model(image)


def test_mistakes(nano_detector, segmentor_weights, tmp_path):
    other = tmp_path / 'other.py'
    other.write_text("default_scope = 'mmpose'")
    for arguments, message in (
        (['maskrcn_glnet_4g_3x'], 'maskrcn_glnet_4g_3x; .*maskrcnn_glnet_4g_3x'),
        ([other], 'mmpose; expected .* mmdet, mmseg, mmpretrain'),
        ([nano_detector, segmentor_weights], 'does not fit'),
        ([nano_detector, None, 'tpu'], '^device=tpu: '),
    ):
        with pytest.raises(UserError, match=message):
            load(*arguments)


def test_importing_the_package_imports_no_library():
    """`load` is there without its imports having been made."""
    code = (
        'import sys, glmix_mm\n'
        "heavy = {'mmdet', 'mmseg', 'timm', 'glmix_mm.inference.load'}\n"
        'print(sorted(heavy & sys.modules.keys()))\n'
        "print(sorted({'load', 'GLNet', 'DilateFormer', 'FCViT'} - set(dir(glmix_mm))))\n"
        'from glmix_mm import load\nprint(load.__module__)\n'
        'try:\n    glmix_mm.lod\nexcept AttributeError as error:\n    print(error)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    imported, hidden, module, error = done.stdout.splitlines()
    assert (imported, hidden, module) == ('[]', '[]', 'glmix_mm.inference.load')
    assert re.search(r"'glmix_mm' has no attribute 'lod'", error)
