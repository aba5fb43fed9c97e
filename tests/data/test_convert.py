"""Pascal VOC, YOLO and labelme become COCO's json; what is wrong in them is told by file."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glmix_mm.config.data_root import apply_data_root
from glmix_mm.config.load_config import load_config
from glmix_mm.data import check_data
from glmix_mm.data.convert import convert, main
from glmix_mm.data.dataset_checks import check_datasets
from glmix_mm.errors import UserError

WIDTH, HEIGHT = 40, 30
VOC = (
    '<annotation><filename>a.jpg</filename>{size}{objects}</annotation>',
    '<size><width>40</width><height>30</height><depth>3</depth></size>',
    '<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin>'
    '<xmax>{}</xmax><ymax>{}</ymax></bndbox></object>',
)


def write(root, files):
    """Write files of text; an image of 40 x 30 where a name ends with .jpg."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == '.jpg':
            noise = np.random.default_rng(len(name)).integers(0, 255, (HEIGHT, WIDTH, 3))
            Image.fromarray(noise.astype(np.uint8)).save(path)
        else:
            path.write_text(text)
    return root


def voc(*objects, size=VOC[1]):
    return VOC[0].format(size=size, objects=''.join(VOC[2].format(*each) for each in objects))


def labelme(*shapes, image='a.jpg'):
    keys = ('label', 'shape_type', 'group_id', 'points')
    shapes = [dict(zip(keys, shape, strict=True)) for shape in shapes]
    return json.dumps(dict(shapes=shapes, imagePath=image, imageWidth=40, imageHeight=30))


def read(out, split):
    """Return a split's classes, images, and the objects of each: class, box, mask, ignored."""
    content = json.loads((out / f'annotations/{split}.json').read_text())
    names = {each['id']: each['name'] for each in content['categories']}
    images = {each['id']: each['file_name'] for each in content['images']}
    found = {name: [] for name in images.values()}
    for each in content['annotations']:
        thing = (names[each['category_id']], each['bbox'], each.get('segmentation'))
        found[images[each['image_id']]].append((*thing, each['iscrowd']))
    for name in found:
        assert Image.open(out / 'images' / split / name).size == (WIDTH, HEIGHT)
    return list(names.values()), found


def test_voc(tmp_path):
    root = write(
        tmp_path / 'set',
        {
            'JPEGImages/a.jpg': '',
            'JPEGImages/b.jpg': '',
            'JPEGImages/rest.jpg': '',
            'SegmentationClass/a.jpg': '',
            'Annotations/a.xml': voc(('dog', 0, 1, 1, 10, 20), ('cat', 1, 5, 6, 30, 26)),
            'Annotations/b.xml': voc(('cat', 0, 31, 21, 40, 30)),
            'Annotations/rest.xml': voc(),
            'ImageSets/Main/train.txt': 'a\n',
            'ImageSets/Main/val.txt': 'b\n',
        },
    )
    lines = convert(root, tmp_path / 'out')
    # Pixels 1 to 10 of VOC are the ten from 0 on.
    things = [('dog', [0, 0, 10, 20], None, 0), ('cat', [4, 5, 26, 21], None, 1)]
    assert read(tmp_path / 'out', 'train') == (['cat', 'dog'], {'a.jpg': things})
    assert read(tmp_path / 'out', 'val')[1] == {'b.jpg': [('cat', [30, 20, 10, 10], None, 0)]}
    assert lines[-1].startswith(f'  {root}/JPEGImages/rest.jpg: ')


def test_yolo(tmp_path):
    root = write(
        tmp_path / 'set',
        {
            'train/images/a.jpg': '',
            'train/labels/a.txt': '1 0.5 0.5 0.5 0.2\n0 0.9 0.5 0.4 0.2\n',
            'valid/images/b.jpg': '',
            'valid/labels/b.txt': '',
            'data.yaml': 'train: ../train/images\nval: ../valid/images\nnames: [cat, dog]\n',
        },
    )
    convert(root, tmp_path / 'out')
    classes, found = read(tmp_path / 'out', 'train')
    boxes = {name: box for name, box, *_ in found['a.jpg']}
    assert classes == ['cat', 'dog']
    assert boxes['dog'] == pytest.approx([10, 12, 20, 6], abs=1e-4)
    assert boxes['cat'] == pytest.approx([28, 12, 12, 6], abs=1e-4)  # cut at the edge
    assert read(tmp_path / 'out', 'val')[1] == {'b.jpg': []}  # an empty file: no object


def test_yolo_with_polygons_and_folders_that_only_the_yaml_knows(tmp_path):
    root = write(
        tmp_path / 'set',
        {
            'images/first/a.jpg': '',
            'labels/first/a.txt': '7 0.25 0.2 0.75 0.2 0.5 0.6\n',
            'images/second/a.jpg': '',
            'labels/second/a.txt': '7 0.5 0.5 0.75 0.5 0.75 1 0.5 1\n',
            'data.yaml': 'train: images/first\nval: images/second\nnames: {7: cat}\n',
        },
    )
    convert(root, tmp_path / 'out')
    ((_, box, (polygon,), _),) = read(tmp_path / 'out', 'train')[1]['a.jpg']
    assert polygon == pytest.approx([10, 6, 30, 6, 20, 18])
    assert box == pytest.approx([10, 6, 20, 12], abs=1e-4)
    assert read(tmp_path / 'out', 'val')[1]['a.jpg'][0][1] == [20, 15, 10, 15]


def test_labelme_which_is_not_split(tmp_path):
    files = {f'{name}.jpg': '' for name in 'abcdefghij'}
    square, corner = [[2, 3], [12, 3], [12, 13], [2, 13]], [[20, 3], [30, 3], [20, 9]]
    parts = ('cat', 'polygon', 5, square), ('cat', 'polygon', 5, corner)
    text = labelme(*parts, ('dog', 'rectangle', None, [[5, 6], [1, 2]]))
    root = write(tmp_path / 'set', {**files, **{f'{name}.json': text for name in 'abcdefghij'}})
    lines = convert(root, tmp_path / 'out')
    train, val = (read(tmp_path / 'out', split)[1] for split in ('train', 'val'))
    assert (len(train), len(val)) == (8, 2) and not {*train} & {*val}
    cat, dog = next(iter(train.values()))
    flat = [[x for point in points for x in point] for points in (square, corner)]
    assert cat == ('cat', [2, 3, 28, 10], flat, 0)
    assert dog == ('dog', [1, 2, 4, 4], [[1, 2, 5, 2, 5, 6, 1, 6]], 0)
    assert lines[-1].startswith('10 objects ')


BAD = {  # files of a set -> the file that is at fault, and a part of what is said of it
    'class': ({'a.txt': '2 0.5 0.5 0.5 0.5\n'}, 'a.txt', 'line 1: class 2'),
    'words': ({'a.txt': 'cat 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.5 0.5'}, 'a.txt', "line 1: .*'cat'"),
    'few': ({'a.txt': '0 0.5 0.5\n0 0.5 0.5 0.5 0.5'}, 'a.txt', 'line 1: .*0.5 0.5'),
    'outside': ({'a.txt': '0 1.4 0.5 0.1 0.1\n'}, 'a.txt', "'cat' "),
    'two points': (
        {'a.txt': '0 0.1 0.1 0.9 0.1 0.9 0.9\n1 0.1 0.1 0.9 0.9\n'},
        'a.txt',
        'line 2: 2 points',
    ),
    'no file': ({'other.jpg': '', 'a.txt': ''}, 'other.jpg', 'no file of labels'),
    'damaged image': ({'a.txt': '', 'b.png': 'no image', 'b.txt': ''}, 'b.png', 'cannot be read'),
    'no size': ({'a.xml': voc(size='')}, 'a.xml', 'no size; 40 x 30'),
    'other size': ({'a.xml': voc(size=VOC[1].replace('40', '50'))}, 'a.xml', '50 x 30, but'),
    'torn xml': ({'a.xml': '<annotation> <object>'}, 'a.xml', 'XML'),
    'bomb': (
        {'a.xml': '<!DOCTYPE x [<!ENTITY a "b">]><annotation>&a;</annotation>'},
        'a.xml',
        'XML',
    ),
    'no box': (
        {'a.xml': voc().replace('</annotation>', '<object><name>x</name></object></annotation>')},
        'a.xml',
        'object 1: .*bndbox',
    ),
    'no extent': ({'a.xml': voc(('cat', 0, 9, 9, 9, 9))}, 'a.xml', "'cat' is empty"),
    'polygon': (
        {'a.json': labelme(('cat', 'polygon', None, [[1, 2], [9, 9]]))},
        'a.json',
        '2 point',
    ),
    'circle': (
        {'a.json': labelme(('cat', 'circle', None, [[9, 9], [9, 2]]))},
        'a.json',
        "circle of 'cat'",
    ),
}


@pytest.mark.parametrize('kind', BAD)
def test_bad_input_is_told_by_file_and_counted(kind, tmp_path):
    files, at_fault, said = BAD[kind]
    ending = next(Path(name).suffix for name in files if Path(name).suffix not in ('.jpg', '.png'))
    good = {
        '.txt': '0 0.5 0.5 0.5 0.5\n',
        '.xml': voc(('cat', 0, 1, 1, 10, 20)),
        '.json': labelme(('cat', 'rectangle', None, [[1, 1], [10, 20]])),
    }[ending]
    both = {'a.jpg': '', 'good.jpg': '', f'good{ending}': good, **files}
    both |= {'data.yaml': 'train: .\nnames: [cat, dog]\n'} if ending == '.txt' else {}
    root = write(tmp_path / 'set', both)
    lines = convert(root, tmp_path / 'out')
    problems = (tmp_path / 'out/problems.txt').read_text().splitlines()
    matching = [line for line in problems if line.startswith(f'{root}/{at_fault}: ')]
    assert len(matching) == len(problems) == 1, problems
    assert re.search(said, matching[0])
    assert lines[-2].startswith('problems: 1, ') and lines[-1] == f'  {problems[0]}'
    found = {**read(tmp_path / 'out', 'train')[1], **read(tmp_path / 'out', 'val')[1]}
    assert found['good.jpg'][0][0] == 'cat'


def test_the_command_named_for_a_folder_makes_one_that_trains(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.modules[__name__], 'HEIGHT', 40)  # mmdet leaves out what is smaller
    text = voc(('x', 0, 2, 3, 20, 25), size=VOC[1].replace('30', '40'))
    files = {}
    for name in 'abcdef':
        split = 'train' if name < 'd' else 'val'
        files |= {f'{split}/{name}.jpg': '', f'{split}/{name}.xml': text}
    write(tmp_path / 'my set', files)
    with pytest.raises(UserError) as caught:
        check_data.main(['my set'])
    command = "convert 'my set' 'my set_coco'"
    assert 'Pascal VOC' in str(caught.value) and str(caught.value).endswith(command)
    cfg = load_config('bccd/fasterrcnn_glnet_nano_bccd')  # whose own layout it is not
    apply_data_root(cfg, 'my set')
    with pytest.raises(UserError, match=rf'train\.json .*{command}'):
        check_datasets(cfg, ['train'])
    main(['my set', 'my set_coco'])
    assert "check-data 'my set_coco'" in capsys.readouterr().out
    check_data.main(['my set_coco'])
    assert '--classes-from-data' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('files', 'said'),
    [
        ({'a.jpg': '', 'a.txt': '0 0.5 0.5 0.5 0.5\n'}, 'classes.txt'),  # which has no names
        (
            {
                'a.jpg': '',
                'a.txt': '0 0.5 0.5 0.5 0.5\n',
                'd.yaml': 'names: [a]\nkpt_shape: [1, 2]',
            },
            'kpt_shape',
        ),
        ({'a.jpg': '', 'a.txt': '0 0.5 0.5 0.5 0.5\n', 'd.yaml': 'names: ['}, 'read as YAML'),
        ({'a.xml': voc()}, 'no images'),
        ({'annotations.xml': '<annotations/>'}, 'CVAT'),
        ({'a.jpg': ''}, r'1 \*.jpg'),
    ],
)
def test_folders_that_are_not_converted(files, said, tmp_path):
    with pytest.raises(UserError, match=said):
        convert(write(tmp_path / 'set', files), tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_nothing_is_overwritten(tmp_path):
    root = write(tmp_path / 'set', {'a.jpg': '', 'a.xml': voc(), 'out/x': ''})
    with pytest.raises(UserError, match='exists already'):
        convert(root, root / 'out')
