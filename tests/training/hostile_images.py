"""Cases of images and label maps, in every kind of pipeline that reads them."""

import io
import os
import struct
import zlib

import cv2
import numpy as np
from hostile_bench import REFUSED, Case
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from PIL import Image

from glmix_mm.config.checked_parts import use_checked_parts
from glmix_mm.config.load_config import load_config
from glmix_mm.data.checked_loading import CheckedLoadImage
from glmix_mm.data.statistics import read_size
from glmix_mm.utils.nested import unwrap
from glmix_mm.utils.pictures import read_image

WIDTH, HEIGHT = 96, 80
# Config and split -> its pipeline; predict is tools/predict.py's reader.
PIPELINES = {
    'det train': ('maskrcnn_glnet_4g_3x', 'train'),
    'det test': ('maskrcnn_glnet_4g_3x', 'test'),
    'seg train': ('upernet_glnet_4g_160k', 'train'),
    'seg test': ('semfpn_glnet_4g_80k', 'test'),
    'cls train': ('imagenet/glnet_4g', 'train'),
    'cls test': ('imagenet/glnet_4g', 'test'),
}
UPRIGHT, SIDEWAYS = 1, 6  # EXIF orientations


def cases() -> list[Case]:
    """Return all cases of images and label maps."""
    return [*damaged(), *strange(), *sizes(), *turned(), *label_maps()]


def picture(width=WIDTH, height=HEIGHT) -> Image.Image:
    """Return a smooth picture, which all formats keep about as it is."""
    coarse = np.random.default_rng(0).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR))


def encoded(image, kind='PNG', **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


ZEROS = zlib.compress(bytes(10**7), 9)
PROFILE = b'x\0\0' + ZEROS
BLACK = Image.new('RGB', (WIDTH, HEIGHT))
FIRST = 'the first picture'
SCOPES = dict(det='mmdet', seg='mmseg', cls='mmpretrain')
PIPES = {}


def pipeline(way):
    """Return the pipeline of a shipped config."""
    if way not in PIPES:
        name, split = PIPELINES[way]
        cfg = load_config(name)
        use_checked_parts(cfg, [split])
        dataset = next(unwrap(cfg[f'{split}_dataloader'].dataset))
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            import_package(cfg.default_scope)
            PIPES[way] = Compose(dataset.pipeline)
    return PIPES[way]


def import_package(scope):
    """Let a library register its transforms, as building its data sets does."""
    from mmengine.registry import init_default_scope

    init_default_scope(scope)
    __import__(f'{scope}.datasets')


def read(bench, way, data, labels=None, name='odd.jpg', size=None):
    """Send an image through a pipeline; return its sample's tensor, or the reader's array."""
    path = bench.path(name)
    path.write_bytes(data)
    if way == 'predict':
        return read_image(path)
    info = dict(img_path=str(path), sample_idx=0)
    if way.startswith('det'):
        width, height = size or (WIDTH, HEIGHT)
        mask = [[8.0, 8.0, 24.0, 8.0, 24.0, 24.0]]
        box = dict(bbox=[8, 8, 24, 24], bbox_label=0, ignore_flag=0, mask=mask)
        info.update(img_id=1, height=height, width=width, instances=[box], seg_map_path=None)
    if way.startswith('seg'):
        map_path = path.with_name('labels.png')
        if labels is None:
            width, height = size or (WIDTH, HEIGHT)
            labels = encoded(Image.fromarray(np.ones((height, width), np.uint8)))
        map_path.write_bytes(labels)
        info.update(
            seg_map_path=str(map_path), label_map=None, reduce_zero_label=True, seg_fields=[]
        )
    if way.startswith('cls'):
        info['gt_label'] = 0
    with DefaultScope.overwrite_default_scope(SCOPES[way[:3]]):
        return pipeline(way)(info)['inputs']


def refused(group, what, ways, data, *words, **options):
    for way in ways:
        run = lambda bench, way=way: read(bench, way, data, **options)  # noqa: E731
        yield Case(group, what, way, REFUSED, run, ('odd.jpg', *words))


def damaged():
    """Files that are no image, or not a whole one."""
    jpeg = encoded(picture(), 'JPEG', quality=95)
    progressive = encoded(picture(), 'JPEG', quality=95, progressive=True)
    png, bomb = encoded(picture()), png_of(100_000, 100_000)
    kinds = ('PNG', 'BMP', 'WEBP', 'TIFF', 'PPM', 'GIF', 'JPEG2000')
    unreadable, large = 'not a readable image', 'claims more than'
    for what, data, word in (
        ('empty', b'', 'is empty'),
        ('text', b'hello' * 99, unreadable),
        ('JPEG, half', cut(jpeg, 0.5), unreadable),
        ('PNG of 10^10 px in 60 bytes', bomb, large),
    ):
        yield from refused('images', what, (*PIPELINES, 'predict'), data, word)
    for what, data, word in (
        *((f'JPEG, cut at {part}', cut(jpeg, part), unreadable) for part in (0.02, 0.9, -1)),
        ('progressive JPEG, cut', cut(progressive, 0.6), unreadable),
        *((f'{kind}, cut', cut(encoded(picture(), kind), 0.6), unreadable) for kind in kinds),
        *((f'PNG, bit {n} changed', flipped(png, n), unreadable) for n in (20, 200, 1000)),
        ('a web page', b'<html>404</html>', unreadable),
        ('json', b'{}', unreadable),
        ('a zip', b'PK\x03\x04' + bytes(99), unreadable),
        ('a PDF', b'%PDF-1.7' + bytes(99), unreadable),
        ('SVG', b'<svg xmlns="http://www.w3.org/2000/svg"/>', unreadable),
        ('zeros', bytes(4096), unreadable),
        ('a JPEG header alone', b'\xff\xd8\xff\xe0\x00\x10JFIF', unreadable),
        ('PNG of 240 million white pixels', encoded(Image.new('1', (20_000, 12_000))), large),
        ('PNG with 10 MB of text', with_chunk(png, b'zTXt', b'x\0\0' + ZEROS), unreadable),
        (
            'PNG with 10 MB of international text',
            with_chunk(png, b'iTXt', b'x\0\1\0\0\0' + ZEROS),
            unreadable,
        ),
        ('PNG with 10 MB of colour profile', with_chunk(png, b'iCCP', PROFILE), unreadable),
        (
            'PNG with 10 MB of colour profile, and 10^10 px',
            with_chunk(bomb, b'iCCP', PROFILE),
            unreadable,
        ),
        ('JPEG 0 px high', with_height(0), unreadable),
        ('JPEG 0 px wide', with_height(HEIGHT, 0), unreadable),
        ('JPEG of 65,535 x 65,535 px', with_height(65_535, 65_535), large),
        ('GIF of 65,535 x 65,535 px', GIF_CANVAS, large),
        ('BMP of 30,000 x 30,000 px', with_bmp_size(30_000), large),
        ('BMP of 10^9 x 10^9 px', with_bmp_size(10**9), large),
        ('PPM of 100,000 x 100,000 px', b'P6\n100000 100000\n255\n', large),
        ('PNG 0 px wide', png_of(0, 10), unreadable),
        ('PNG without pixels', with_pixels(b''), unreadable),
        ('PNG of one row of its 80', with_pixels(bytes(1 + 3 * WIDTH)), unreadable),
        ('PNG without its end', png[:-12], unreadable),
    ):
        yield from refused('images', what, ('det train', 'predict'), data, word)

    def pipe(read_from):
        def run(bench):
            path = bench.path('odd.jpg')
            os.mkfifo(path)
            return read_from(path)

        return run

    words = ('odd.jpg', 'is a pipe or a device')
    for way, read_from in {'predict': read_image, 'det train': load_image}.items():
        yield Case('images', 'a pipe', way, REFUSED, pipe(read_from), words)
    words = ('/dev/zero', 'is a pipe or a device')
    yield Case('images', 'a device', 'det train', REFUSED, lambda _: load_image('/dev/zero'), words)

    def missing(way):
        def run(bench):
            info = dict(img_path=str(bench.path('odd.jpg')), height=1, width=1, instances=[])
            with DefaultScope.overwrite_default_scope('mmdet'):
                pipeline(way)(info)

        return run

    words = ('odd.jpg', 'No such file')
    yield Case('images', 'no file', 'det train', REFUSED, missing('det train'), words)

    def folder(bench):
        path = bench.path('odd.jpg')
        path.mkdir()
        return read_image(path)

    yield Case('images', 'a folder', 'predict', REFUSED, folder, ('odd.jpg', 'directory'))


GIF_CANVAS = b'GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;'


def load_image(path):
    """Read an image as pipelines do."""
    return CheckedLoadImage()(dict(img_path=str(path)))


def with_height(height, width=WIDTH):
    """Return a JPEG whose header claims another size."""
    data = bytearray(encoded(picture(), 'JPEG', quality=95))
    place = data.index(b'\xff\xc0') + 5
    data[place : place + 4] = struct.pack('>HH', height, width)
    return bytes(data)


def with_bmp_size(side):
    data = encoded(picture(), 'BMP')
    return data[:18] + struct.pack('<ii', side, side) + data[26:]


def cut(data, part):
    return data[: int(len(data) * part)] if part > 0 else data[:part]


def flipped(data, place):
    changed = bytearray(data)
    changed[place] ^= 4
    return bytes(changed)


def chunk(kind, data):
    """Return a part of a PNG."""
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def with_chunk(png, kind, data):
    """Return a PNG with one more part, behind its header."""
    return png[:33] + chunk(kind, data) + png[33:]


def png_of(width, height, pixels=b''):
    """Return a PNG of a header that claims a size, and of no more than some pixels."""
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    parts = chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(pixels)) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + parts


def with_pixels(pixels):
    return png_of(WIDTH, HEIGHT, pixels)


def strange():
    """Kinds of images other than 8-bit RGB, and what they are read as."""
    grey = np.asarray(picture().convert('L'))
    rgba = picture().convert('RGBA')
    rgba.putalpha(Image.fromarray(grey))
    expected = np.asarray(picture())
    three = np.repeat(grey[..., None], 3, 2)
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    kinds = {
        'grey': (encoded(picture().convert('L')), three, 1, 'grey in all three channels'),
        'grey with alpha': (encoded(picture().convert('LA')), three, 1, 'read without alpha'),
        '16-bit grey': (encoded(wide), three, 1, 'the upper 8 bits'),
        'RGBA': (encoded(rgba), expected, 0, 'read without alpha'),
        'palette': (encoded(picture().convert('P')), expected, 40, 'colours of the palette'),
        'black and white': (encoded(picture().convert('1')), None, 0, '0 and 255'),
        'CMYK': (encoded(picture().convert('CMYK'), 'JPEG', quality=95), expected, 5, 'as RGB'),
        'grey JPEG': (encoded(picture().convert('L'), 'JPEG', quality=95), three, 5, 'grey in all'),
        'progressive JPEG': (encoded(picture(), 'JPEG', progressive=True), expected, 9, 'as any'),
        'PNG named .jpg': (encoded(picture()), expected, 0, 'by its content'),
        'WebP named .jpg': (
            encoded(picture(), 'WEBP', lossless=True),
            expected,
            0,
            'by its content',
        ),
        'JPEG with bytes after it': (
            encoded(picture(), 'JPEG', quality=95) + b'more',
            expected,
            5,
            'what follows is passed over',
        ),
        'animated PNG': (
            encoded(picture(), save_all=True, append_images=[BLACK]),
            expected,
            0,
            FIRST,
        ),
        'animated WebP': (
            encoded(picture(), 'WEBP', save_all=True, append_images=[BLACK], lossless=True),
            expected,
            0,
            FIRST,
        ),
        'TIFF of two pages': (
            encoded(picture(), 'TIFF', save_all=True, append_images=[BLACK]),
            expected,
            0,
            FIRST,
        ),
        'palette with transparency': (
            encoded(picture().convert('P'), transparency=3),
            expected,
            40,
            'colours of the palette',
        ),
        '16-bit RGB': (
            bytes(cv2.imencode('.png', expected[..., ::-1].astype(np.uint16) * 257)[1]),
            expected,
            1,
            'the upper 8 bits',
        ),
        'JPEG with a thumbnail': (with_thumbnail(), expected, 5, 'the image itself'),
        'GIF of two pictures': (
            encoded(
                picture(), 'GIF', save_all=True, append_images=[Image.new('RGB', (WIDTH, HEIGHT))]
            ),
            expected,
            60,
            'the first picture',
        ),
    }
    for what, (data, values, tolerance, how) in kinds.items():

        def run(bench, data=data, values=values, tolerance=tolerance):
            found = read(bench, 'predict', data).astype(int)
            assert found.shape == (HEIGHT, WIDTH, 3)
            if values is None:
                assert set(np.unique(found)) == {0, 255}
            else:
                assert np.abs(found - values).mean() <= tolerance

        yield Case('kinds', what, 'predict', how, run)
        for way in ('det train', 'seg train', 'cls train'):

            def train(bench, way=way, data=data):
                inputs = read(bench, way, data)
                assert inputs.shape[0] == 3 and str(inputs.dtype) == 'torch.uint8'

            yield Case('kinds', what, way, how, train)
    data = encoded(picture().convert('L').convert('F'), 'TIFF')
    yield from refused('kinds', '32-bit float TIFF', ('predict',), data, 'not a readable')


def with_thumbnail():
    """Return a JPEG whose header holds a whole small JPEG."""
    small = encoded(picture(16, 16), 'JPEG')
    data = encoded(picture(), 'JPEG', quality=95)
    segment = b'Thumb\0' + small
    return data[:2] + b'\xff\xed' + struct.pack('>H', len(segment) + 2) + segment + data[2:]


def sizes():
    """Images of extreme sizes."""
    ways = ('det train', 'det test', 'seg train', 'seg test', 'cls train', 'cls test', 'predict')
    for width, height in ((1, 1), (1, 300), (300, 1), (2_000, 16), (16, 2_000), (31, 33)):
        for way in ways:

            def run(bench, way=way, size=(width, height)):
                for seed in range(2):
                    np.random.seed(seed)  # flipped or not
                    found = read(bench, way, encoded(picture(*size)), size=size)
                    assert min(found.shape) > 0

            what = f'{width} x {height} px'
            if way.startswith('seg') and 1 in (width, height):
                words = ('labels.png', what, 'two rows')
                yield Case('sizes', what, way, REFUSED, run, words)
            else:
                yield Case('sizes', what, way, 'resized as any other', run)


def turned():
    """Images that an EXIF record turns, and their annotations."""

    def sideways(orientation, width=WIDTH, height=HEIGHT):
        exif = Image.Exif()
        exif[0x0112] = orientation
        return encoded(picture(width, height), 'JPEG', quality=95, exif=exif.tobytes())

    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: a.transpose(1, 0, 2)[::-1],
    }
    for orientation, turn in turns.items():

        def run(bench, orientation=orientation, turn=turn):
            found = read(bench, 'predict', sideways(orientation)).astype(int)
            expected = turn(np.asarray(picture())).astype(int)
            assert found.shape == expected.shape
            assert np.abs(found - expected).mean() < 3

        yield Case('EXIF', f'orientation {orientation}', 'predict', 'read upright', run)

    def survey(bench):
        path = bench.path('odd.tif')
        path.write_bytes(encoded(picture(), 'TIFF', tiffinfo={0x0112: SIDEWAYS}))
        assert read_image(path).shape == (WIDTH, HEIGHT, 3)
        assert read_size(str(path), decode=True) == (HEIGHT, WIDTH)

    yield Case('EXIF', 'a TIFF, orientation 6', 'train, predict', 'read upright', survey)

    def upright(bench):
        read(bench, 'det train', sideways(SIDEWAYS), size=(HEIGHT, WIDTH))

    def stored(bench):
        read(bench, 'det train', sideways(SIDEWAYS), size=(WIDTH, HEIGHT))

    yield Case('EXIF', 'annotations of the upright image', 'det train', 'read upright', upright)
    words = ('odd.jpg', '80 x 96 px', '96 x 80 px', 'EXIF', 'color_ignore_orientation')
    yield Case('EXIF', 'annotations of the stored image', 'det train', REFUSED, stored, words)

    def ignoring(bench):
        path = bench.path('odd.jpg')
        path.write_bytes(sideways(SIDEWAYS))
        step = CheckedLoadImage(color_type='color_ignore_orientation')
        found = step(dict(img_path=str(path), height=HEIGHT, width=WIDTH))
        assert found['img'].shape == (HEIGHT, WIDTH, 3)

    how = "as stored, with color_type='color_ignore_orientation'"
    yield Case('EXIF', 'annotations of the stored image', 'LoadImageFromFile', how, ignoring)
    for what, size in {
        'wider': (97, 80),
        'lower': (96, 79),
        'ten times as large': (960, 800),
    }.items():

        def lies(bench, size=size):
            read(bench, 'det train', encoded(picture()), size=size)

        words = ('odd.jpg', 'its annotations are for')
        yield Case('EXIF', f'json says {what}', 'det train', REFUSED, lies, words)

    def map_of_stored(bench):
        read(bench, 'seg train', sideways(SIDEWAYS))

    words = ('labels.png', 'odd.jpg', 'upright')
    yield Case('EXIF', 'label map of the stored image', 'seg train', REFUSED, map_of_stored, words)


def big_endian(labels):
    """Return a TIFF of 16 bits a pixel, the upper eight first."""
    height, width = labels.shape
    data = labels.astype('>u2').tobytes()
    short = {256: width, 257: height, 258: 16, 259: 1, 262: 1, 277: 1, 278: height}
    entries = [struct.pack('>HHIHH', tag, 3, 1, value, 0) for tag, value in short.items()]
    entries.insert(5, struct.pack('>HHII', 273, 4, 1, 8))  # where the pixels begin
    entries.append(struct.pack('>HHII', 279, 4, 1, len(data)))
    directory = struct.pack('>H', len(entries)) + b''.join(entries) + bytes(4)
    return struct.pack('>2sHI', b'MM', 42, 8 + len(data)) + data + directory


def label_maps():
    """Label maps with numbers out of range, of another kind or size; in a pipeline and up front."""
    good = np.ones((HEIGHT, WIDTH), np.uint8)

    def with_value(value, dtype=np.uint8):
        labels = good.astype(dtype)
        labels[3, 4] = value
        return labels

    def loaded(labels):
        def run(bench):
            data = labels if isinstance(labels, bytes) else encoded(Image.fromarray(labels))
            return read(bench, 'seg train', encoded(picture()), labels=data)

        return run

    minus = with_value(-250, np.int32)
    with_text = with_chunk(encoded(Image.fromarray(good)), b'zTXt', b'x\0\0' + ZEROS)
    wide_map = encoded(Image.fromarray(with_value(70000, np.int32)), 'TIFF')
    for what, labels, word in (
        ('label 151 of 150', with_value(151), 'has label 151, expected 1 to 150'),
        ('label 254', with_value(254), 'has label 254, expected 1 to 150'),
        ('16-bit, label 300', with_value(300, np.uint16), 'has label 300'),
        ('16-bit, label 65535', with_value(65535, np.uint16), 'has label 65535'),
        ('32-bit, label 70000', wide_map, 'has label 70000'),
        ('smaller than the image', good[:40, :40].copy(), '40 x 40 px'),
        ('larger than the image', np.ones((160, 192), np.uint8), '192 x 160 px'),
        ('turned', good.T.copy(), '80 x 96 px'),
        ('RGB', np.stack([good] * 3, 2), 'one channel'),
        ('RGBA', np.stack([good] * 4, 2), 'one channel'),
        ('empty', b'', 'is empty'),
        ('no image', b'labels', 'not a readable image'),
        ('cut off', encoded(Image.fromarray(good))[:60], 'not a readable image'),
        ('a bit changed', flipped(encoded(Image.fromarray(good)), 45), 'not a readable image'),
        ('10^10 px', png_of(100_000, 100_000), 'claims more than'),
        ('16-bit big-endian TIFF, label 300', big_endian(with_value(300, np.uint16)), 'label 300'),
        ('32-bit, label -250', encoded(Image.fromarray(minus), 'TIFF'), 'label -250'),
        ('label 1.5', encoded(Image.fromarray(good * np.float32(1.5)), 'TIFF'), 'label 1.5'),
        ('label NaN', encoded(Image.fromarray(good * np.float32('nan')), 'TIFF'), 'label nan'),
        ('a JPEG', encoded(Image.fromarray(good), 'JPEG'), 'is a JPEG'),
        ('grey with alpha', encoded(Image.fromarray(good).convert('LA')), 'one channel'),
        (
            '10 MB of text in it',
            with_text,
            'not a readable',
        ),
    ):
        words = ('labels.png', word)
        yield Case('label maps', what, 'seg train', REFUSED, loaded(labels), words)
    palette = Image.fromarray(good)
    palette.putpalette([255, 0, 0] * 256)
    for what, labels, how in (
        ('label 0 with reduce_zero_label', with_value(0), 'ignored'),
        ('label 255', with_value(255), 'ignored'),
        ('16-bit, label 150', with_value(150, np.uint16), 'as 8-bit'),
        ('a palette', encoded(palette), 'indices, whatever their colours'),
        ('a palette with transparency', encoded(palette, transparency=1), 'indices'),
        ('grey with transparency', encoded(Image.fromarray(good), transparency=1), 'as without'),
        ('a palette of 4 bits', encoded(palette, bits=4), 'indices'),
        ('1 bit', encoded(Image.fromarray(good > 0)), '0 and 1'),
        ('16-bit big-endian TIFF', big_endian(good.astype(np.uint16)), 'as 8-bit'),
        ('all ignored', with_value(0) * 0, 'read; only a whole sample of these is refused'),
    ):
        yield Case('label maps', what, 'seg train', how, loaded(labels))
