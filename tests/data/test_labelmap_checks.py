"""Every mistake in folders of images and label maps ends in one line that says what to do."""

import shutil

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from glmix_mm.data.dataset_checks import check_datasets
from glmix_mm.data.demo_set import DEMO_SEG_CLASSES, write_demo_dataset
from glmix_mm.errors import UserError

IMAGES, LABELS = 'images/training', 'annotations/training'
FIRST = 'ADE_train_00000001'


@pytest.fixture(scope='module')
def demo_ade(tmp_path_factory):
    folder = tmp_path_factory.mktemp('layout') / 'set'
    root = write_demo_dataset(folder, num_train=4, num_val=2, image_size=64)
    return root / 'ade/ADEChallengeData2016'


@pytest.fixture
def root(demo_ade, tmp_path):
    shutil.copytree(demo_ade, tmp_path / 'ade')
    return tmp_path / 'ade'


def make_config(root, num_classes=6, **changes):
    settings = dict(
        type='BaseSegDataset',
        data_root=str(root),
        data_prefix=dict(img_path=IMAGES, seg_map_path=LABELS),
        metainfo=dict(classes=DEMO_SEG_CLASSES),
        reduce_zero_label=True,
        pipeline=[],
    )
    settings = {key: v for key, v in {**settings, **changes}.items() if v is not None}
    return Config(
        dict(
            default_scope='mmseg',
            model=dict(
                decode_head=dict(num_classes=num_classes),
                auxiliary_head=[dict(num_classes=num_classes)],
            ),
            train_dataloader=dict(dataset=settings),
            train_evaluator=dict(type='IoUMetric'),
        )
    )


def failure(cfg):
    with pytest.raises(UserError) as caught:
        check_datasets(cfg, ['train'])
    message = str(caught.value)
    assert '\n' not in message
    return message


def write_labels(root, values, names=None):
    for path in (root / LABELS).iterdir() if names is None else names:
        Image.fromarray(np.resize(np.asarray(values, np.uint8), (64, 64))).save(path)


def test_a_good_set_passes(root):
    check_datasets(make_config(root), ['train'])


def test_missing_root_names_layout_and_option(root):
    message = failure(make_config(root / 'nowhere'))
    assert 'train data: ' in message and f'{root}/nowhere' in message
    assert 'images/training/, images/validation/, annotations/training/' in message
    assert '--data-root DIR' in message


@pytest.mark.parametrize('folder', [IMAGES, LABELS])
def test_missing_and_empty_folders(root, folder):
    shutil.rmtree(root / folder)
    assert f'{root}/{folder} is missing' in failure(make_config(root))
    (root / folder).mkdir()
    assert f'{root}/{folder} is empty' in failure(make_config(root))


def test_missing_label_map(root):
    (root / LABELS / 'ADE_train_00000003.png').unlink()
    message = failure(make_config(root))
    assert '1 of the 4 label maps' in message and f'{root}/{LABELS}' in message
    assert 'ADE_train_00000003.png' in message


@pytest.mark.parametrize('named', [True, False])
def test_test_images_without_label_maps(root, named):
    prefix = dict(img_path=IMAGES, seg_map_path=LABELS) if named else dict(img_path=IMAGES)
    cfg = make_config(root, data_prefix=prefix)
    cfg.test_dataloader, cfg.test_evaluator = cfg.train_dataloader, cfg.train_evaluator
    for path in (root / LABELS).iterdir():
        path.unlink()
    with pytest.raises(UserError) as caught:
        check_datasets(cfg, ['test'])
    assert f'predict CONFIG CHECKPOINT {root}/{IMAGES}' in str(caught.value)
    assert 'test_evaluator.format_only=True' in str(caught.value)
    # To train they are needed.
    assert (f'{LABELS} is empty' if named else 'has no seg_map_path') in failure(cfg)
    cfg.test_evaluator.format_only = True
    assert check_datasets(cfg, ['test']) == dict(test=4)


def test_one_test_image_without_a_label_map(root):
    cfg = make_config(root)
    cfg.test_dataloader, cfg.test_evaluator = cfg.train_dataloader, cfg.train_evaluator
    (root / LABELS / 'ADE_train_00000003.png').unlink()
    with pytest.raises(UserError) as caught:
        check_datasets(cfg, ['test'])
    message = str(caught.value)
    assert '1 of the 4 images' in message and 'ADE_train_00000003.png' in message
    assert 'predict CONFIG' in message and 'test_evaluator.format_only=True' in message


def test_missing_image(root):
    (root / IMAGES / 'ADE_train_00000002.jpg').unlink()
    message = failure(make_config(root))
    assert f'1 of the label maps in {root}/{LABELS}' in message
    assert '3 images' in message and 'ADE_train_00000002.png' in message


def test_other_suffixes(root):
    message = failure(make_config(root, img_suffix='.tif'))
    assert 'has no *.tif, but *.jpg' in message
    assert '(found there: *.png)' in failure(make_config(root, seg_map_suffix='_labels.png'))


def test_label_maps_that_were_compressed(root):
    for path in (root / LABELS).iterdir():
        with Image.open(path) as image:
            image.convert('L').save(path.with_suffix('.jpg'))
    message = failure(make_config(root, seg_map_suffix='.jpg'))
    assert 'JPEGs (*.jpg)' in message


def test_a_list_of_names(root, tmp_path):
    names = tmp_path / 'train.txt'
    names.write_text(f'{FIRST}\n')
    (root / LABELS / 'ADE_train_00000004.png').unlink()
    cfg = make_config(root, ann_file=str(names))
    check_datasets(cfg, ['train'])
    names.write_text(f'{FIRST}\nabsent\n')
    assert '1 of the 2 images' in failure(cfg)
    names.write_bytes(b'\xff\xfe')
    assert f'{names}: ' in failure(cfg) and 'byte 0' in failure(cfg)
    names.unlink()
    assert f'{names} is missing' in failure(cfg)


@pytest.mark.parametrize(
    ('values', 'reduce_zero_label', 'expected'),
    [
        ([1, 7, 255], True, 'has label 7, expected 1 to 6 '),
        ([0, 5, 9, 12], False, 'has label 9, 12, expected 0 to 5 '),
        ([1, 6], False, 'reduce_zero_label=True'),
        ([0, 255], True, 'ignored (labels 0, 255)'),
    ],
)
def test_values_out_of_range(root, values, reduce_zero_label, expected):
    write_labels(root, values)
    assert expected in failure(make_config(root, reduce_zero_label=reduce_zero_label))


def test_one_bad_file_among_the_sample_is_named(root):
    path = root / LABELS / f'{FIRST}.png'
    write_labels(root, [1, 200], [path])
    assert failure(make_config(root)).startswith(f'{path}: has label 200')


def test_masks_of_0_and_255(root):
    write_labels(root, [0, 255])
    cfg = make_config(root, 2, metainfo=dict(classes=('no', 'yes')), reduce_zero_label=False)
    assert 'hold 0 and 255' in failure(cfg)


def test_coloured_label_maps(root):
    path = root / LABELS / f'{FIRST}.png'
    Image.new('RGB', (64, 64)).save(path)
    assert f'{path}: has 3 channels; expected one' in failure(make_config(root))
    path.write_bytes(b'no picture')
    assert f'{path}: not a readable image' in failure(make_config(root))


def test_own_classes_with_ades_type(root):
    message = failure(make_config(root, type='ADE20KDataset'))
    assert "type='BaseSegDataset'" in message


def test_ades_own_defaults_are_known(root):
    # ADE20KDataset itself sets reduce_zero_label and its 150 classes.
    cfg = make_config(root, 150, type='ADE20KDataset', metainfo=None, reduce_zero_label=None)
    check_datasets(cfg, ['train'])
    write_labels(root, [1, 151])
    assert 'has label 151, expected 1 to 150' in failure(cfg)


def test_heads_of_another_number_of_classes(root):
    message = failure(make_config(root, num_classes=150))
    assert 'model.decode_head.num_classes=150' in message
    assert 'model.auxiliary_head.0.num_classes=6' in message


@pytest.mark.parametrize('ignored', [250, 6, 0])
def test_another_label_is_ignored(root, ignored):
    own = dict(reduce_zero_label=False, ignore_index=ignored)
    write_labels(root, [1, 2, ignored])
    notes = []
    check_datasets(make_config(root, **own), ['train'], notes.append)
    assert any(f'{ignored} (33.3 %) is ignored' in note for note in notes)
    write_labels(root, [1, 2, 255])
    message = failure(make_config(root, **own))
    assert 'has label 255, expected 0 to 5' in message and f'{ignored} (ignored)' in message


def test_mmseg_itself_writes_255(root):
    message = failure(make_config(root, ignore_index=250))
    assert 'ignore_index=250' in message and 'reduce_zero_label' in message


@pytest.mark.parametrize(
    ('values', 'count', 'steps'),
    [([0, 40, 80], 81, '0, 40, 80'), ([0, 127, 254], 255, '0, 127, 254'), ([3, 9], 10, '3, 9')],
)
def test_steps_of_grey_are_named(root, values, count, steps):
    write_labels(root, values)
    own = dict(reduce_zero_label=False, metainfo=dict(classes=[f'c{i}' for i in range(count)]))
    notes = []
    check_datasets(make_config(root, count, **own), ['train'], notes.append)
    (warning,) = [note for note in notes if 'warning: ' in note]
    assert f'{count - len(values)} of {count} classes' in warning
    assert f'only {steps} are' in warning


def warnings(cfg):
    notes = []
    check_datasets(cfg, ['train'], notes.append)
    return [note for note in notes if 'warning' in note]


def test_few_classes_may_be_rare_in_a_sample(root, monkeypatch):
    write_labels(root, [1, 2])
    cfg = make_config(root, 5, metainfo=dict(classes=[*'abcde']))
    (note,) = warnings(cfg)
    assert '3 of 5 classes' in note and note.endswith('c, d, e')
    monkeypatch.setattr('glmix_mm.data.labelmap_checks.DECODED', 2)
    assert not warnings(cfg)


def test_one_class_alone_is_nothing_to_learn(root):
    write_labels(root, [2, 0])
    assert 'one class of 6, disc' in failure(make_config(root))


def test_a_background_that_is_ignored_is_told(root):
    write_labels(root, [0, 255, 1, 2, 0])
    assert '60 %' in warnings(make_config(root))[-1]


def test_images_of_another_ending_are_told(root):
    path = root / IMAGES / FIRST
    Image.open(f'{path}.jpg').save(f'{path}.png')
    assert f'{FIRST}.png' in warnings(make_config(root))[-1]


@pytest.mark.parametrize(('factor', 'bits'), [(4, 10), (16, 12), (64, 14), (257, None)])
def test_images_of_16_bits(root, factor, bits):
    for path in (root / IMAGES).iterdir():
        grey = np.asarray(Image.open(path).convert('L'), np.uint16)
        grey[0, 0] = 255
        Image.fromarray(grey * factor).save(path.with_suffix('.png'))
        path.unlink()
    cfg, notes = make_config(root, img_suffix='.png'), []
    if bits in (None, 14):
        check_datasets(cfg, ['train'], notes.append)
    else:
        notes.append(failure(cfg))
    found = [note for note in notes if f'hold {bits} bits; ' in note]
    assert len(found) == (bits is not None)
    assert all(f'multiply the values by {2 ** (16 - bits)}' in note for note in found)
    assert all(('warning: ' in note) == (bits == 14) for note in found)


def test_label_maps_of_16_bits(root):
    for path in (root / LABELS).iterdir():
        Image.fromarray(np.asarray(Image.open(path), np.uint16)).save(path)
    check_datasets(make_config(root), ['train'])


def test_rare_classes_are_named_with_their_share(root):
    for path in (root / LABELS).iterdir():
        labels = np.full((64, 64), 1, np.uint8)
        labels[:32] = 255  # which is not counted
        labels[40, :10], labels[41:62] = 3, 2
        Image.fromarray(labels).save(path)
    notes = []
    check_datasets(make_config(root), ['train'], notes.append)
    (note,) = [note for note in notes if 'rare' in note]
    assert f'labelled pixels: {DEMO_SEG_CLASSES[2]} 0.49 %; ' in note  # 10 of 2048
    assert 'ClassWeightHook' in note
