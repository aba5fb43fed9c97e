"""Every mistake in folders and lists of classes ends in one line that says what to do."""

import shutil

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from glmix_mm.data.dataset_checks import check_datasets
from glmix_mm.errors import UserError

CLASSES = ('cat', 'cow', 'dog')
SPLITS = ('train', 'val')


@pytest.fixture
def root(tmp_path):
    for split in SPLITS:
        for name in CLASSES:
            folder = tmp_path / 'set' / split / name
            folder.mkdir(parents=True)
            Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / f'{name}1.JPEG')
    return tmp_path / 'set'


def make_config(root, num_classes=3, preprocessor_classes=3, **changes):
    def settings(split):
        own = dict(type='ImageNet', data_root=str(root), split=split, pipeline=[])
        own = {**own, 'metainfo': dict(classes=CLASSES), **changes}
        return {key: value for key, value in own.items() if value is not None}

    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(head=dict(num_classes=num_classes)),
            data_preprocessor=dict(num_classes=preprocessor_classes),
            **{f'{split}_dataloader': dict(dataset=settings(split)) for split in SPLITS},
        )
    )


def failure(cfg, splits=SPLITS):
    with pytest.raises(UserError) as caught:
        check_datasets(cfg, splits)
    message = str(caught.value)
    assert '\n' not in message
    return message


def flatten(root, lines):
    """Move the images of val out of their class folders; list them if there are lines."""
    for path in sorted((root / 'val').glob('*/*')):
        path.rename(root / 'val' / path.name)
        path.parent.rmdir()
    if lines is not None:
        (root / 'meta').mkdir()
        (root / 'meta' / 'val.txt').write_text(lines)


def test_good_sets_pass(root):
    check_datasets(make_config(root), SPLITS)
    flatten(root, 'cat1.JPEG 0\ndog1.JPEG 2\n')  # a class may be absent where it is scored
    check_datasets(make_config(root), SPLITS)


def test_classes_of_ones_own_come_from_the_folders(root):
    own = dict(type='CustomDataset', split=None, metainfo=None, data_prefix='train')
    cfg = make_config(root, **own)
    check_datasets(cfg, SPLITS)
    cfg.model.head.num_classes = 2
    assert "3 classes ('cat', 'cow', 'dog')" in failure(cfg).replace(
        '(cat, cow, dog)', "('cat', 'cow', 'dog')"
    )


def test_missing_root_and_split(root):
    message = failure(make_config(root / 'nowhere'))
    assert 'train data: ' in message and f'{root}/nowhere' in message
    assert 'train/CLASS/*.JPEG' in message and '--data-root DIR' in message
    shutil.rmtree(root / 'val')
    assert f'val data: {root}/val ' in failure(make_config(root))


def test_val_without_labels(root):
    flatten(root, None)
    message = failure(make_config(root))
    assert f'val data: {root}/val has no labels' in message and '3 images' in message
    assert f'{root}/meta/val.txt' in message


def test_one_class_folder_too_few(root):
    shutil.rmtree(root / 'train' / 'cow')
    message = failure(make_config(root))
    assert f"{root}/train: has 2 class folders ('cat', 'dog')" in message


def test_classes_in_another_order_than_their_folders(root):
    message = failure(make_config(root, metainfo=dict(classes=('dog', 'cat', 'cow'))))
    assert "('cat', 'cow', 'dog')" in message


def test_imagenet_with_999_classes(root):
    for number in range(3, 999):
        (root / 'val' / f'n{number:08d}').mkdir()
    message = failure(make_config(root, metainfo=None), ['val'])
    assert 'has 999 class folders' in message and 'instead of 1000' in message


def test_a_class_folder_without_images(root):
    (root / 'train' / 'cow' / 'cow1.JPEG').rename(root / 'train' / 'cow' / 'cow1.txt')
    assert "('cow')" in failure(make_config(root))


def test_other_class_folders_in_val(root):
    (root / 'val' / 'cow').rename(root / 'val' / 'bull')
    message = failure(make_config(root))
    assert "'bull', 'cow'" in message


@pytest.mark.parametrize(
    ('lines', 'expected'),
    [
        ('cat1.JPEG\ndog1.JPEG 2\n', "1 of its 2 lines have no label ('cat1"),
        ('', 'it is empty'),
        (f'cat1.JPEG {"9" * 5000}', '1 of its 1 lines'),
        ('cat1.JPEG 1\ndog1.JPEG 3\n', 'expected 0 to 2'),
        ('cat1.JPEG 0\nfox1.JPEG 1\n', '1 of its 2 images'),
    ],
)
def test_lists(root, lines, expected):
    flatten(root, lines)
    message = failure(make_config(root))
    assert message.startswith(f'{root}/meta/val.txt: ')
    assert expected in message


def test_a_list_that_is_no_text(root):
    flatten(root, '')
    (root / 'meta' / 'val.txt').write_bytes(b'caf\xe9.JPEG 0')
    message = failure(make_config(root))
    assert message.startswith(f'{root}/meta/val.txt: ') and 'byte 3' in message


def test_a_training_list_that_lacks_a_class(root):
    (root / 'meta').mkdir()
    (root / 'meta' / 'train.txt').write_text('cat/cat1.JPEG 0\ndog/dog1.JPEG 2\n')
    assert 'train.txt: lacks the classes 1' in failure(make_config(root))


def test_a_list_without_names_of_classes(root):
    changes = dict(type='CustomDataset', split=None, metainfo=None, ann_file='list.txt')
    (root / 'list.txt').write_text('train/cat/cat1.JPEG 0\n')
    assert 'list.txt' in failure(make_config(root, **changes))


def test_a_head_and_mixed_labels_of_another_class_count(root):
    message = failure(make_config(root, num_classes=1000))
    assert 'model.head.num_classes=1000' in message
    assert 'set --cfg-options model.head.num_classes=3' in message
    message = failure(make_config(root, preprocessor_classes=1000))
    assert 'data_preprocessor.num_classes=1000' in message


def test_more_ranks_than_classes(root):
    cfg = make_config(root)
    cfg.val_evaluator = [dict(type='Accuracy', topk=(1, 5))]
    assert 'val_evaluator.topk is (1, 5)' in failure(cfg)


def test_a_split_that_is_read_without_labels(root):
    (root / 'test').mkdir()
    (root / 'test' / 'x.JPEG').touch()
    assert 'is read without labels' in failure(make_config(root, split='test'))
