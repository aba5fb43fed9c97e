"""Cases of annotation files in COCO's format that are broken, or lie."""

import json
import os

import pycocotools.mask as mask_utils
from hostile_bench import DETECTOR, REFUSED, SIZE, Bench, Case
from mmengine.registry import DATASETS, DefaultScope

NAN, INF = float('nan'), float('inf')
TRAIN, VAL = 'instances_train2017.json', 'instances_val2017.json'


def cases() -> list[Case]:
    """Return all cases of annotation files."""
    return [*texts(), *entries(), *file_names(), *masks(), *scoring(), *passed_over()]


def changed(change, name=TRAIN):
    """Return a run that changes the demo set's annotations and has them checked."""

    def run(bench: Bench):
        root = bench.copy_of_demo()
        path = root / 'coco' / 'annotations' / name
        content = json.loads(path.read_text())
        content = change(content) or content
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return bench.check(root)

    return run


def case(what, change, word, name=TRAIN, group='json'):
    return Case(group, what, 'train', REFUSED, changed(change, name), (name, word))


def texts():
    """What is no json, or not COCO's."""

    def raw(data):
        def run(bench):
            root = bench.copy_of_demo()
            (root / 'coco' / 'annotations' / TRAIN).write_bytes(data)
            return bench.check(root)

        return run

    for what, data, word in (
        ('empty', b'', 'is not json'),
        ('cut off', b'{"images": [{"id": 1,', 'is not json'),
        ('binary', b'\x80\x03}q\x00.', 'is not json but binary'),
        ('gzip', b'\x1f\x8b\x08\x00\x00', 'is not json but binary'),
        ('a web page', b'<html>', 'is not json'),
        ('a list', b'[]', "but not COCO's"),
        ('a number', b'3', "but not COCO's"),
        ('null', b'null', "but not COCO's"),
        ('100,000 brackets', b'[' * 100_000, 'cannot be read as json'),
        ('a number of 10,000 digits', b'1' * 10_000, 'cannot be read as json'),
        ('only images', b'{"images": []}', "but not COCO's"),
    ):
        yield Case('json', what, 'train', REFUSED, raw(data), (TRAIN, word))

    for what, encode, word in (
        ('UTF-8 with a mark', lambda c: json.dumps(c).encode('utf-8-sig'), 'byte order mark'),
        ('UTF-16', lambda c: json.dumps(c).encode('utf-16'), 'in UTF-16'),
        ('UTF-32', lambda c: json.dumps(c).encode('utf-32'), 'or UTF-32'),
        ('Latin-1', lambda c: json.dumps(c).encode() + b' \xe9', 'is not UTF-8'),
        ('two documents', lambda c: json.dumps(c).encode() * 2, 'is not json: Extra data'),
        ('zeros after it', lambda c: json.dumps(c).encode() + bytes(9), 'is not json: Extra data'),
        ('a comment', lambda c: b'// COCO\n' + json.dumps(c).encode(), 'is not json'),
        (
            'two lists of images',
            lambda c: json.dumps(c).encode()[:-1] + b', "images": []}',
            "has 'images' twice",
        ),
        (
            'two lists of annotations',
            lambda c: json.dumps(c).encode()[:-1] + b', "annotations": []}',
            "has 'annotations' twice",
        ),
        (
            'an annotation with two boxes',
            lambda c: json.dumps(c).replace('"bbox"', '"bbox": [1, 1, 2, 2], "bbox"', 1).encode(),
            "has 'bbox' twice",
        ),
    ):
        yield Case('json', what, 'train', REFUSED, changed(encode), (TRAIN, word))
    for what, info in {'NaN': NAN, 'infinity': INF, '10^400': 10**400}.items():
        run = changed(lambda content, info=info: content.update(info=info))
        yield Case('json', f'{what} where nobody looks', 'train', 'read', run)


def first(key, **values):
    """Return a change of the first entry of a list."""

    def change(content):
        content[key][0].update(values)

    return change


def entries():
    """What is wrong with images, boxes and categories."""

    def replace(key, value):
        return lambda content: dict(content, **{key: value})

    def drop(key, entry):
        return lambda content: content[key][0].pop(entry) and None

    def twice(key, **values):
        return lambda content: content[key].append(dict(content[key][0], **values))

    for key in ('images', 'annotations', 'categories'):
        yield case(f'{key}: an object', replace(key, {'a': 1}), f"'{key}' is a dict")
        yield case(f'{key}: text', replace(key, 'x'), f"'{key}' is a str")
        yield case(f'{key}: of numbers', replace(key, [1, 2]), f'{key}[0] is a int')
        yield case(f'{key}: the first without id', drop(key, 'id'), f"{key}[0] has no 'id'")
        yield case(f'{key}: id a list', first(key, id=[1]), 'is neither a whole number')
        yield case(f'{key}: id true', first(key, id=True), 'is neither a whole number')
    yield case('images: none', replace('images', []), 'does not list')
    yield case('images: one twice', twice('images'), 'more than once')
    yield case('annotations: none', replace('annotations', []), 'has no annotation')
    yield case('annotations: null', replace('annotations', None), 'has no annotation')
    yield case('annotations: one twice', twice('annotations'), 'more than once')
    yield case('categories: one id twice', twice('categories', name='new'), 'more than once')
    yield case('categories: one name twice', twice('categories', id=77), 'more than once')
    yield case('category: not listed', first('annotations', category_id=77), 'does not list')
    yield case('category: a list', first('annotations', category_id=[1]), 'does not list')
    yield case('category: another name', first('categories', name='x'), 'classes')
    yield case('category: no text', first('categories', name=3), 'is not a string')
    yield case('category: half a character', first('categories', name='\ud800'), 'classes')
    yield case('image of an annotation: none', first('annotations', image_id=77), 'does not list')
    for name in ('', 3, None, 'a\0b', '\ud800.jpg', ['a.jpg']):
        yield case(f'file_name {name!r}', first('images', file_name=name), 'file_name')
    yield case('file_name of no file', first('images', file_name='../x.jpg'), 'are not in')
    for side in (0, -64, 64.0, '64', None, NAN, True, 10**12):
        yield case(f'height {side!r}', first('images', height=side), 'height')
    for box in (
        [1, 2, 3],
        [1, 2, 3, 4, 5],
        [],
        'abcd',
        None,
        {'x': 1},
        [1, 2, NAN, 4],
        [1, 2, INF, 4],
        ['1', 2, 3, 4],
        [[1], 2, 3, 4],
        [1, 2, 1e300, 4],
        [10**400, 2, 3, 4],
    ):
        shown = str(box)[:24]
        yield case(f'bbox {shown}', first('annotations', bbox=box), 'annotations[0]: bbox')
    for area in (None, 'x', NAN, INF, [1]):
        yield case(f'area {area!r}', first('annotations', area=area), 'annotations[0]: area')
    for crowd in (2, 'no', None, [0]):
        yield case(f'iscrowd {crowd!r}', first('annotations', iscrowd=crowd), 'iscrowd')


def file_names():
    """File names that are of no image, or of one elsewhere."""

    def renamed(name, make=None):
        """Return a run in which the first image has another name; ``make`` may put it there."""

        def run(bench):
            root = bench.copy_of_demo()
            path, folder = root / 'coco' / 'annotations' / TRAIN, root / 'coco' / 'train2017'
            content = json.loads(path.read_text())
            image = folder / content['images'][0]['file_name']
            new = name(image) if callable(name) else name
            content['images'][0]['file_name'] = new
            path.write_text(json.dumps(content))
            if make:
                make(folder / new, image)
            return bench.check(root)

        return run

    absent = 'are not in'
    for what, name, make, word in (
        ('two lines', 'a\nerror: all is well.jpg', None, absent),
        ('an escape', '\x1b[2Ja.jpg', None, absent),
        ('5,000 letters', 'a' * 5000, None, absent),
        ('5,000 folders', 'a/' * 5000 + 'a.jpg', None, absent),
        ('this folder', '.', None, absent),
        ('a folder', 'sub', lambda new, old: new.mkdir(), 'cannot be read'),
        ('a URL', 'https://example.org/a.jpg', None, absent),
        ("Windows's", 'train2017\\a.jpg', None, absent),
        (
            'decomposed',
            'e\u0301.jpg',
            lambda new, old: old.rename(new.with_name('\xe9.jpg')),
            absent,
        ),
        ('a link to itself', 'a.jpg', lambda new, old: new.symlink_to(new), 'symbolic links'),
        ('a link to nothing', 'a.jpg', lambda new, old: new.symlink_to('none'), 'No such file'),
        ('a pipe', 'a.jpg', lambda new, old: os.mkfifo(new), 'is a pipe or a device'),
        (
            'a device',
            'a.jpg',
            lambda new, old: new.symlink_to('/dev/zero'),
            'is a pipe or a device',
        ),
        ('a password file', '../../../../../../../../../etc/passwd', None, 'cannot be read'),
    ):
        yield Case('json', f'file_name: {what}', 'train', REFUSED, renamed(name, make), (word,))
    for what, name in {
        'by way of its parent': lambda image: f'../{image.parent.name}/{image.name}',
        'an absolute path': str,
    }.items():
        yield Case('json', f'file_name: {what}', 'train', 'read', renamed(name))
    run = renamed('a\nb.jpg', lambda new, old: old.rename(new))
    yield Case('json', 'file_name: two lines, and there', 'train', 'read', run)


def masks():
    """Masks that can't be read, or that pycocotools would take amiss."""
    size = [SIZE, SIZE]
    lengths = dict(size=size, counts=[0, 100, SIZE * SIZE - 100])
    for what, mask, word in (
        ('text', 'polygon', 'neither a list of polygons'),
        ('a number', 7, 'neither a list of polygons'),
        ('a flat list', [1, 1, 9, 1, 9, 9], 'neither a list of polygons'),
        ('a polygon of texts', [['1', '1', '9', '1', '9', '9']], 'not a list of numbers'),
        ('a polygon with NaN', [[1, 1, 9, NAN, 9, 9]], 'not a list of numbers'),
        ('a polygon with infinity', [[1, 1, INF, 1, 9, 9]], 'not a list of numbers'),
        ('a polygon 3e7 px wide', [[0, 0, 3e7, 0, 5, 5]], 'far outside'),
        ('a polygon 1e300 px high', [[0, 0, 5, 1e300, 5, 5]], 'far outside'),
        ('a polygon far to the left', [[-900, 0, 5, 5, 5, 0]], 'far outside'),
        ('run lengths: none', dict(size=size), 'cannot be read'),
        ('run lengths: of no size', dict(counts=[1]), 'of size None'),
        ('run lengths: of another size', dict(lengths, size=[9, 9]), 'of size [9, 9]'),
        ('run lengths: of size 10^6', dict(size=[10**6, 10**6], counts='5'), 'of size'),
        ('run lengths: size of texts', dict(lengths, size=['64', '64']), 'of size'),
        ('run lengths: too short', dict(size=size, counts=[10, 5]), 'sum up to 15'),
        ('run lengths: too long', dict(size=size, counts=[10, 10**6]), 'sum up to'),
        ('run lengths: negative', dict(size=size, counts=[SIZE**2 + 6, -6]), 'negative length -6'),
        ('run lengths: fractions', dict(size=size, counts=[0.5, SIZE**2 - 0.5]), 'cannot be read'),
        ('run lengths: empty', dict(size=size, counts=[]), 'sum up to 0'),
        ('compressed: empty', dict(size=size, counts=''), 'cannot be read'),
        ('compressed: cut off', dict(size=size, counts='PPP~'), 'cannot be read'),
        ('compressed: endless number', dict(size=size, counts='~' * 40 + '0'), 'cannot be read'),
        ('compressed: strange letters', dict(size=size, counts='0\x01\xff'), 'cannot be read'),
        ('compressed: too short', dict(size=size, counts='5'), 'sum up to 5'),
        ('compressed: not ASCII', dict(size=size, counts='\xe9'), 'cannot be read'),
        ('run lengths: 2^64', dict(size=size, counts=[2**64, SIZE**2 - 2**64]), 'negative length'),
        ('run lengths: true', dict(size=size, counts=[True] * SIZE**2), 'cannot be read'),
        ('run lengths in a list', [lengths], 'neither a list of polygons'),
        ('polygons of points', [[[1, 1], [9, 1], [9, 9]]], 'not a list of numbers'),
    ):
        yield case(what, first('annotations', segmentation=mask), word, group='masks')
    yield case('none', first('annotations', segmentation=None), "no 'segmentation'", group='masks')
    yield case(
        'no polygon', first('annotations', segmentation=[]), "no 'segmentation'", VAL, 'masks'
    )

    def compressed(content):
        for entry in content['annotations']:
            rle = mask_utils.frPyObjects(entry['segmentation'], SIZE, SIZE)
            assert isinstance(rle['counts'], bytes)
            entry['segmentation'] = dict(size=size, counts=rle['counts'].decode())

    run = changed(compressed)
    yield Case('masks', 'compressed by pycocotools', 'train', 'read', run)


def scoring():
    """What would only be noticed, or not, when pycocotools scores."""

    def drop_crowd(content):
        del content['annotations'][0]['iscrowd']

    yield Case('json', 'no iscrowd', 'train', 'read as 0', changed(drop_crowd, VAL))
    for number in (0, -5, 2**64, 10**400, 'a0f3'):
        run = changed(first('annotations', id=number), VAL)
        numbered = 'numbered from 1 as it is read'
        yield Case('json', f'annotation id {str(number)[:24]}', 'train', numbered, run)
    for key, link in (('images', 'image_id'), ('categories', 'category_id')):

        def mixed(content, key=key, link=link):
            entry = content[key][0]
            for annotation in content['annotations']:
                if annotation[link] == entry['id']:
                    annotation[link] = 'first'
            entry['id'] = 'first'

        yield case(f'{key}: ids of two kinds', mixed, 'ids of two kinds', VAL)
    for polygon in ([], [1, 1], [1, 1, 9, 9]):
        change = first('annotations', segmentation=[polygon])
        yield case(
            f'polygon of {len(polygon) // 2} points', change, 'fewer than three', VAL, 'masks'
        )

    def fewer(content):
        content['images'] = content['images'][:1]
        known = content['images'][0]['id']
        content['annotations'] = [a for a in content['annotations'] if a['image_id'] == known]

    def run(bench):
        root = bench.copy_of_demo()
        folder = root / 'coco' / 'annotations'
        content = json.loads((folder / VAL).read_text())
        fewer(content)
        (folder / 'other.json').write_text(json.dumps(content))
        cfg = bench.config()
        cfg.val_evaluator.ann_file = str(folder / 'other.json')
        from glmix_mm.data.dataset_checks import check_datasets

        check_datasets(cfg, ['val'])

    yield Case(
        'json', 'scored against fewer images', 'train', REFUSED, run, ('other.json', 'lacks')
    )


def passed_over():
    """What mmdet leaves out or cuts to the image: read in full, through the pipeline."""

    def loaded(change, expected):
        """Return a run that counts the objects that reach the first image's sample."""

        def keep_one(content):
            box = content['annotations'][0]
            known = box['image_id']
            rest = [a for a in content['annotations'] if a['image_id'] != known]
            square = dict(
                box, bbox=[8, 8, 16, 16], area=256, iscrowd=0, segmentation=[[8, 8, 24, 8, 24, 24]]
            )
            odd = dict(square, id=99_999, **change)
            content['annotations'] = [square, odd, *rest]

        def run(bench):
            root = bench.copy_of_demo()
            path = root / 'coco' / 'annotations' / TRAIN
            content = json.loads(path.read_text())
            keep_one(content)
            path.write_text(json.dumps(content))
            cfg = bench.check(root)
            settings = dict(cfg.train_dataloader.dataset, serialize_data=False)
            with DefaultScope.overwrite_default_scope('mmdet'):
                sample = DATASETS.build(settings)[0]['data_samples']
            objects, ignored = sample.gt_instances, sample.ignored_instances
            assert (len(objects), len(ignored)) == expected, (len(objects), len(ignored))
            assert objects.bboxes.tensor.isfinite().all()
            assert objects.masks.masks.shape == (expected[0], SIZE, SIZE)

        return run

    left_out = 'left out, the number is logged'
    for what, change in {
        'box without width': dict(bbox=[5, 5, 0, 9]),
        'box of negative height': dict(bbox=[5, 5, 9, -3]),
        'box narrower than a pixel': dict(bbox=[5, 5, 0.5, 9]),
        'box without area': dict(area=0),
        'box right of the image': dict(bbox=[70, 5, 9, 9]),
        'box above the image': dict(bbox=[5, -20, 9, 9]),
    }.items():
        yield Case('boxes', what, DETECTOR, left_out, loaded(change, (1, 0)))
    for what, change in {
        'empty polygon': dict(segmentation=[[]]),
        'polygon of one point': dict(segmentation=[[5, 5]]),
        'polygon of two points': dict(segmentation=[[5, 5, 9, 9]]),
        'polygon of 7 numbers': dict(segmentation=[[5, 5, 9, 9, 5, 9, 1]]),
    }.items():
        ignored = 'ignored in training, the number is logged'
        yield Case('masks', what, DETECTOR, ignored, loaded(change, (1, 1)))
    for what, change in {
        'box partly outside': dict(bbox=[50, 50, 30, 30]),
        'polygon partly outside': dict(segmentation=[[50, 50, 80, 50, 80, 80]]),
        'box of more than its mask': dict(bbox=[0, 0, 64, 64]),
        'one good and one bad polygon': dict(segmentation=[[1, 1], [5, 5, 9, 5, 9, 9]]),
        'area of 10^9': dict(area=10**9),
    }.items():
        yield Case('boxes', what, DETECTOR, 'read as mmdet reads it', loaded(change, (2, 0)))
