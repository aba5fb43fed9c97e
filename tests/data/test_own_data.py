"""Classes and paths that a config takes from a data set; training with them is the tutorial's."""

import copy
import functools
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from glmix_mm.cli import run
from glmix_mm.config.classes import set_classes, use_found
from glmix_mm.config.data_root import apply_data_root
from glmix_mm.config.load_config import load_config
from glmix_mm.data import classes_from_data
from glmix_mm.data.check_data import main as check_data
from glmix_mm.data.class_file import read_class_file
from glmix_mm.data.dataset_checks import check_datasets
from glmix_mm.errors import UserError
from glmix_mm.utils.nested import heads_classes, unwrap

NAMES = ['coin', 'tile', 'sign', 'medal', 'washer']
COCO, ADE = 'coco', 'ade/ADEChallengeData2016'


@pytest.fixture
def boxes(demo_root, tmp_path):
    """Return a copy of the demo set in COCO's layout, with other names."""
    root = Path(shutil.copytree(demo_root / COCO, tmp_path / 'boxes'))
    for path in (root / 'annotations').iterdir():
        content = json.loads(path.read_text())
        for category, name in zip(content['categories'], NAMES, strict=True):
            category['name'] = name
        path.write_text(json.dumps(content))
    return root


@pytest.fixture
def maps(demo_root, tmp_path):
    """Return a copy of the demo set in ADE20K's layout, with names in classes.txt."""
    root = Path(shutil.copytree(demo_root / ADE, tmp_path / 'maps'))
    # As editors of Windows save it, with a byte order mark.
    text = '\r\n'.join(['floor', *NAMES]) + '\r\n'
    (root / 'classes.txt').write_bytes(text.encode('utf-8-sig'))
    return root


@functools.cache
def loaded(name):
    return load_config(name)


def fitted(name, root):
    cfg = copy.deepcopy(loaded(name))
    apply_data_root(cfg, str(root))
    return cfg, use_found(cfg, classes_from_data.read_classes(cfg))


def failure(name, root):
    with pytest.raises(UserError) as caught:
        fitted(name, root)
    return str(caught.value)


def datasets(cfg):
    for split in ('train', 'val', 'test'):
        yield from unwrap(cfg[f'{split}_dataloader'].dataset)


@pytest.mark.parametrize(
    ('name', 'heads'),
    [
        ('maskrcnn_glnet_4g_1x', ['roi_head.bbox_head', 'roi_head.mask_head']),
        (
            'cascademaskrcnn_dilateformer_tiny_3x',
            [*(f'roi_head.bbox_head.{i}' for i in range(3)), 'roi_head.mask_head'],
        ),
    ],
)
def test_a_detector_gets_the_names_everywhere(name, heads, boxes):
    cfg, notes = fitted(name, boxes)
    assert dict(heads_classes(cfg.model, 'model')) == {
        f'model.{head}.num_classes': 5 for head in heads
    }
    for dataset in datasets(cfg):
        assert list(dataset.metainfo.classes) == NAMES
        assert len(set(dataset.metainfo.palette)) == 5
    assert cfg.model.get('rpn_head', {}).get('num_classes') is None
    assert notes[-1] == "5 classes: 'coin', 'tile', 'sign', 'medal', 'washer'"
    assert check_datasets(cfg, ['train', 'val', 'test'], notes.append)['train'] == 7  # 1 is empty


def test_a_segmentor_gets_the_names_everywhere(maps):
    cfg, notes = fitted('upernet_glnet_4g_160k', maps)
    assert cfg.model.decode_head.num_classes == cfg.model.auxiliary_head.num_classes == 6
    for dataset in datasets(cfg):
        assert list(dataset.metainfo.classes) == ['floor', *NAMES]
        assert dataset.reduce_zero_label is True
        steps = [step for step in dataset.pipeline if step['type'] == 'LoadAnnotations']
        assert steps and not any('reduce_zero_label' in step for step in steps)
    assert 'label 0 is ignored' in notes[0]
    check_datasets(cfg, ['train', 'val', 'test'], notes.append)


@pytest.mark.parametrize('way', classes_from_data.ANNOTATIONS)
def test_annotations_are_found(way, boxes):
    val = 'valid' if '_annotations' in way else 'val'
    folders = {'train': 'train', 'val': val}
    for split, name in folders.items():
        target = boxes / way.format(name)
        target.parent.mkdir(exist_ok=True)
        (boxes / f'annotations/instances_{split}2017.json').rename(target)
        beside = '_annotations' in way
        images = boxes / name if beside else boxes / 'images' / name
        images.parent.mkdir(exist_ok=True)
        images.mkdir(exist_ok=True)
        for path in (boxes / f'{split}2017').iterdir():
            path.rename(images / path.name)
    cfg, notes = fitted('maskrcnn_glnet_4g_1x', boxes)
    assert cfg.test_evaluator.ann_file == str(boxes / way.format(val))
    check_datasets(cfg, ['train', 'val', 'test'], notes.append)


@pytest.mark.parametrize(('images', 'labels'), classes_from_data.PAIRS)
def test_label_maps_are_found(images, labels, maps):
    for old, new in (('training', 'train'), ('validation', 'valid')):
        for kind, way in (('images', images), ('annotations', labels)):
            target = maps / 'new' / way.format(new)
            target.parent.mkdir(parents=True, exist_ok=True)
            (maps / kind / old).rename(target)
    shutil.copy(maps / 'classes.txt', maps / 'new')
    for path in sorted((maps / 'new').rglob('*.png')):
        path.rename(path.with_name(f'{path.stem}_[mask].png'))
    cfg, notes = fitted('semfpn_glnet_4g_80k', maps / 'new')
    check_datasets(cfg, ['train', 'val', 'test'], notes.append)
    assert cfg.test_dataloader.dataset.seg_map_suffix == '_[mask].png'
    assert cfg.test_dataloader.dataset.data_prefix.seg_map_path == labels.format('valid')


@pytest.mark.parametrize(
    ('names', 'labels', 'expected'),
    [
        ('a b c', [0, 1, 2], (['a', 'b', 'c'], False)),
        ('a b c', [0, 1, 2, 250], (['a', 'b', 'c'], False)),
        ('a b c', [0, 1], (['a', 'b', 'c'], False)),
        ('a b c', [1, 2, 3], (['a', 'b', 'c'], True)),
        ('a b c', [0, 1, 2, 3], (['a', 'b', 'c'], True)),
        ('a b c', [0, 4], 'names 3 classes, but the label maps (all 9 read) go up to 4'),
        ('a b b', [0, 1], 'names a class twice'),
        ('a', [0], 'two classes or more'),
        (None, [0, 2], (['label 0', 'label 1', 'label 2'], False)),
        (None, [0], 'hold 0 and perhaps 250'),
        (None, [], 'hold nothing and perhaps 250'),
    ],
)
def test_labels_and_names(names, labels, expected, tmp_path):
    path = tmp_path / 'classes.txt'
    if names:
        path.write_text(names.replace(' ', '\n\n'))

    def name_labels():
        listed = read_class_file(path)[0] if names else []
        return classes_from_data._name_labels(path, listed, {*labels}, 250, 'all 9')

    if isinstance(expected, tuple):
        assert name_labels() == expected
        return
    with pytest.raises(UserError) as caught:
        name_labels()
    assert expected in str(caught.value)


def test_mistakes_say_what_was_looked_for(boxes, maps, tmp_path):
    empty = tmp_path / 'empty'
    (empty / 'x').mkdir(parents=True)
    message = failure('maskrcnn_glnet_4g_1x', empty)
    assert 'train; expected annotations/instances_{}2017.json' in message
    assert 'images/{} and annotations/{}' in failure('semfpn_glnet_4g_80k', empty)
    assert '{}/CLASS/IMAGE ({} being train or training)' in failure('imagenet/glnet_4g', boxes)
    (boxes / 'annotations/instances_val2017.json').unlink()
    assert 'nothing found for val' in failure('maskrcnn_glnet_4g_1x', boxes)
    for path in (maps / 'annotations/training').iterdir():
        path.rename(path.with_name(f'x{path.name}'))
    assert 'ADE_train_00000001' in failure('semfpn_glnet_4g_80k', maps)


def test_images_that_are_elsewhere(boxes):
    annotations = boxes / 'annotations'
    (annotations / 'instances_train2017.json').rename(annotations / 'train.json')
    (boxes / 'train2017').rename(boxes / 'elsewhere')
    message = failure('maskrcnn_glnet_4g_1x', boxes)
    assert '000000000001.jpg' in message


def test_weights_of_another_number_of_classes(maps):
    (maps / 'classes.txt').write_text('\n'.join([*NAMES, 'floor', 'wall']))
    assert '6 weights, but the data have 7' in failure('semfpn_glnet_nano', maps)


@pytest.mark.parametrize('masks', [True, False])
def test_a_folder_is_checked_alone(boxes, masks, capsys):
    if not masks:
        for path in (boxes / 'annotations').iterdir():
            content = json.loads(path.read_text())
            for box in content['annotations']:
                del box['segmentation']
            path.write_text(json.dumps(content))
    assert run(check_data, [str(boxes)]) == 0
    out = capsys.readouterr().out
    assert 'train data: 7 of 8 images used' in out
    assert out.count('val data: 4 of 4 images used') == 1
    assert 'test data' not in out  # the same as val
    config = f'_base_/finetune/{"instances" if masks else "detector"}'
    assert out.endswith(
        f'Train on it: glmix train {config} --data-root {boxes} --classes-from-data\n'
    )


def test_the_config_goes_with_the_number_of_images(boxes, maps, monkeypatch):
    assert classes_from_data.suiting_config(maps) == '_base_/finetune/segmentor'
    monkeypatch.setattr(classes_from_data, 'FEW', 7)
    assert classes_from_data.suiting_config(boxes) == 'maskrcnn_glnet_4g_1x'
    assert classes_from_data.suiting_config(maps) == 'semfpn_glnet_4g_80k'


def test_all_mistakes_of_a_folder_are_printed(maps, capsys):
    path = maps / 'annotations/training/ADE_train_00000001.png'
    Image.fromarray(np.full((64, 60), 1, np.uint8)).save(path)
    (maps / 'images/training/ADE_train_00000002.jpg').write_bytes(b'')
    max((maps / 'annotations/validation').iterdir()).unlink()
    assert run(check_data, [str(maps)]) == 1
    printed = capsys.readouterr()
    assert len([line for line in printed.out.splitlines() if line.startswith('to fix: ')]) == 3
    assert printed.err.splitlines()[-1].startswith('error: 3 to fix in the data of ')


def test_a_folder_of_something_else(tmp_path, capsys):
    (tmp_path / 'a.txt').touch()
    assert run(check_data, [str(tmp_path)]) == 1
    assert 'expected annotations/instances_{}2017.json' in capsys.readouterr().err
    (tmp_path / 'train.json').write_text('{}')  # which is no config of training
    assert run(check_data, [str(tmp_path / 'train.json')]) == 1
    assert 'train_dataloader' in capsys.readouterr().err


@pytest.mark.parametrize('outputs', [1, 150])
def test_outputs_of_a_head_go_with_the_classes(outputs, maps):
    cfg = copy.deepcopy(loaded('semfpn_glnet_4g_80k'))
    cfg.model.decode_head.out_channels = outputs
    apply_data_root(cfg, str(maps))
    if outputs == 150:
        use_found(cfg, classes_from_data.read_classes(cfg))
        assert cfg.model.decode_head.out_channels == cfg.model.decode_head.num_classes == 6
        return
    with pytest.raises(UserError, match=r'out_channels=1, .* have 6'):
        use_found(cfg, classes_from_data.read_classes(cfg))


@pytest.fixture
def folders(tmp_path):
    """Return a set of three classes, in the layout of torchvision's ImageFolder."""
    rng = np.random.default_rng(0)
    for split, count in (('train', 3), ('val', 2)):
        for name in ('wren', 'owl', 'tit [blue]'):
            folder = tmp_path / 'birds' / split / name
            folder.mkdir(parents=True)
            for number in range(count + (name == 'owl')):
                pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f'{number}.png')
    return tmp_path / 'birds'


@pytest.mark.parametrize('name', ['imagenet/glnet_4g', 'imagenet/fcvit_tiny'])
def test_a_classifier_gets_the_names_everywhere(name, folders):
    cfg, notes = fitted(name, folders)
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == 3
    assert cfg.val_evaluator.topk == cfg.test_evaluator.topk == (1,)
    for dataset in datasets(cfg):
        assert list(dataset.metainfo.classes) == ['owl', 'tit [blue]', 'wren']
    assert notes[0].endswith(f'folders of {folders}/train')
    counts = check_datasets(cfg, ['train', 'val', 'test'], notes.append)
    assert counts == dict(train=10, val=7, test=7)


def test_a_folder_of_class_folders_is_checked_alone(folders, capsys):
    assert run(check_data, [str(folders)]) == 0
    out = capsys.readouterr().out
    assert 'train data: 10 images of 3 classes, from 3 (tit [blue]) to 4 (owl) each' in out
    assert 'val data: all 7 images opened' in out
    assert f'train {classes_from_data.CLASSIFICATION} --data-root {folders}' in out.splitlines()[-1]
    (folders / 'val/owl/0.png').write_bytes(b'no image')
    for path in (folders / 'train').rglob('*.png'):
        Image.fromarray(np.full((40, 50), 4095, np.uint16)).save(path)
    assert run(check_data, [str(folders)]) == 1
    out = capsys.readouterr().out
    assert '1 of the 7 images' in out and 'hold 12 bits' in out


def test_images_of_every_ending_are_used(folders):
    """mmpretrain by itself passes over WebP and .tiff, without a word."""
    for number, ending in enumerate(('.webp', '.tiff', '.JPG')):
        path = folders / f'train/owl/{number}.png'
        Image.open(path).save(path.with_suffix(ending))
        path.unlink()
    cfg, _ = fitted('imagenet/glnet_4g', folders)
    assert check_datasets(cfg, ['train']) == dict(train=10)


def test_the_next_command_takes_a_folder_with_a_space(folders, capsys):
    folder = folders.rename(folders.with_name('my birds'))
    assert run(check_data, [str(folder)]) == 0
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert words[words.index('--data-root') + 1] == str(folder)


def test_class_folders_without_splits(folders, capsys):
    assert run(check_data, [str(folders / 'train')]) == 1
    message = capsys.readouterr().err
    assert "'owl', 'tit [blue]', 'wren'" in message and 'val/CLASS' in message
    assert 'val/CLASS' in failure('imagenet/glnet_4g', folders / 'train')
    shutil.rmtree(folders / 'val')
    assert 'nothing found for val' in failure('imagenet/glnet_4g', folders)


def test_data_sets_that_are_joined_keep_their_own_roots(boxes, tmp_path):
    both = tmp_path / 'both'
    for name in ('one', 'two'):
        shutil.copytree(boxes, both / name)
    for split in ('train', 'val'):  # in another layout, so that no file lies as the config says
        (both / f'two/{split}2017').rename(both / f'two/{split}')
        old = both / f'two/annotations/instances_{split}2017.json'
        old.rename(both / f'two/annotations/{split}.json')
    cfg = copy.deepcopy(loaded('maskrcnn_glnet_4g_1x'))
    inner = cfg.train_dataloader.dataset
    sets = [dict(copy.deepcopy(inner), data_root=f'data/{name}/') for name in ('one', 'two')]
    joined = dict(type='ConcatDataset', datasets=sets)
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=joined)
    cfg.val_dataloader.dataset.data_root = 'data/one/'
    cfg.val_evaluator.ann_file = 'data/one/annotations/instances_val2017.json'
    cfg.test_dataloader, cfg.test_evaluator = map(
        copy.deepcopy, (cfg.val_dataloader, cfg.val_evaluator)
    )
    apply_data_root(cfg, str(both))
    use_found(cfg, classes_from_data.read_classes(cfg))
    files = [Path(each.data_root) / each.ann_file for each in unwrap(cfg.train_dataloader.dataset)]
    one = both / 'one/annotations/instances_train2017.json'
    assert files == [one, both / 'two/annotations/train.json']
    content = json.loads(files[1].read_text())
    content['categories'][0]['name'] = 'other'
    files[1].write_text(json.dumps(content))
    with pytest.raises(UserError, match=r'two/annotations/train\.json: '):
        use_found(cfg, classes_from_data.read_classes(cfg))


def test_joined_label_maps_keep_their_own_roots(maps, tmp_path):
    shutil.copytree(maps, tmp_path / 'two')
    for folder in ('images', 'annotations'):
        (tmp_path / 'two' / folder / 'training').rename(tmp_path / 'two' / folder / 'train')
    cfg = copy.deepcopy(loaded('semfpn_glnet_4g_80k'))
    inner = cfg.train_dataloader.dataset
    sets = [dict(copy.deepcopy(inner), data_root=str(r)) for r in (maps, tmp_path / 'two')]
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=sets)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(maps)
    use_found(cfg, classes_from_data.read_classes(cfg))
    one, two = (each.data_prefix.img_path for each in unwrap(cfg.train_dataloader.dataset))
    assert (one, two) == ('images/training', 'images/train')
    (tmp_path / 'two/classes.txt').write_text('\n'.join('abcdef'))
    with pytest.raises(UserError, match=r"two: its classes are 'a', "):
        use_found(cfg, classes_from_data.read_classes(cfg))


def test_a_panoptic_data_set_is_refused(boxes):
    cfg = copy.deepcopy(loaded('maskrcnn_glnet_4g_1x'))
    cfg.train_dataloader.dataset.type = 'CocoPanopticDataset'
    with pytest.raises(UserError, match='panoptic json'):
        use_found(cfg, classes_from_data.read_classes(cfg))


def test_a_data_set_that_is_not_cocos_says_what_it_is(boxes):
    cfg = copy.deepcopy(loaded('maskrcnn_glnet_4g_1x'))
    cfg.train_dataloader.dataset.type = 'VOCDataset'
    cfg.train_dataloader.dataset.ann_file = 'ImageSets/Main/trainval.txt'
    cfg.train_dataloader.dataset.data_root = str(boxes)
    with pytest.raises(UserError, match=r'VOCDataset, .*pascal_voc\.py'):
        use_found(cfg, classes_from_data.read_classes(cfg))


def test_every_number_of_classes_follows():
    head = dict(num_things_classes=80, num_stuff_classes=53)
    weighted = dict(head, loss_cls=dict(class_weight=[1.0] * 133 + [0.1]))
    model = dict(panoptic_head=weighted, panoptic_fusion_head=dict(head), semantic_head=dict(head))
    cfg = Config(dict(default_scope='mmdet', model=model))
    set_classes(cfg, NAMES)
    for name in model:
        found = cfg.model[name]
        assert (found.num_things_classes, found.num_stuff_classes) == (5, 0)
    assert cfg.model.panoptic_head.loss_cls.class_weight == [1.0] * 5 + [0.1]
    cfg.model.panoptic_head.loss_cls.class_weight = [1.0, 2.0, 3.0, 4.0]
    with pytest.raises(UserError, match='4 weights, but the data have 5'):
        set_classes(cfg, NAMES)


def test_a_classifiers_numbers_follow():
    head = dict(num_classes=1000, topk=(1, 5), loss=dict(num_classes=1000))
    accuracy = dict(type='Accuracy', topk=(1, 5))
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(head=head),
            data_preprocessor=dict(num_classes=1000),
            val_evaluator=accuracy,
        )
    )
    set_classes(cfg, NAMES[:3])
    head = cfg.model.head
    assert head.num_classes == head.loss.num_classes == cfg.data_preprocessor.num_classes == 3
    assert head.topk == cfg.val_evaluator.topk == (1,)
