"""Token labels: reading them, what is wrong with them, and that they move as their images do."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope
from PIL import Image

import glmix_mm.data.tokenlabel_set  # noqa: F401  (registers the data set and transforms)
from glmix_mm.data.dataset_checks import check_datasets
from glmix_mm.data.tokenlabels import read_token_labels
from glmix_mm.errors import UserError
from glmix_mm.models.token_labeling import crop_targets, spread

CLASSES = ('cat', 'dog')
IMAGES = 3  # of each class
SHAPE = (2, 5, 4, 4)


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def labels(number=0):
    """Return labels as the published files hold them, in half precision."""
    generator = torch.Generator().manual_seed(number)
    values = torch.randn(SHAPE, generator=generator).half()
    values[1] = torch.randint(0, len(CLASSES), SHAPE[1:], generator=generator)
    return values


@pytest.fixture
def root(tmp_path):
    for name in CLASSES:
        for folder in (tmp_path / 'train' / name, tmp_path / 'labels' / name):
            folder.mkdir(parents=True)
        for number in range(IMAGES):
            image = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
            image.save(tmp_path / 'train' / name / f'{name}_{number}.JPEG')
            torch.save(labels(number), tmp_path / 'labels' / name / f'{name}_{number}.pt')
    return tmp_path


def settings(root):
    return dict(
        type='TokenLabelImageNet',
        data_root=str(root),
        split='train',
        token_labels='labels',
        metainfo=dict(classes=CLASSES),
        pipeline=[],
    )


def check(root):
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(head=dict(num_classes=len(CLASSES))),
            train_dataloader=dict(dataset=settings(root)),
        )
    )
    check_datasets(cfg, ['train'])


def failure(root):
    with pytest.raises(UserError) as caught:
        check(root)
    message = str(caught.value)
    assert '\n' not in message
    return message


def test_each_image_gets_its_own(root):
    check(root)
    dataset = DATASETS.build(settings(root))
    assert len(dataset) == IMAGES * len(CLASSES)
    load = TRANSFORMS.build(dict(type='LoadTokenLabels'))
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        found = load(info)['token_labels']
        number = int(info['img_path'][-6])
        assert found.dtype == np.float32
        assert np.array_equal(found, labels(number).float().numpy())


def test_a_list_of_images(root):
    (root / 'meta').mkdir()
    (root / 'meta' / 'train.txt').write_text('cat/cat_0.JPEG 0\ndog/dog_1.JPEG 1\n')
    (root / 'labels' / 'dog' / 'dog_0.pt').unlink()  # of an image that is not listed
    check(root)
    (root / 'labels' / 'dog' / 'dog_1.pt').unlink()
    assert '1 of its 2 token labels' in failure(root)


def test_missing_folder_and_files(root):
    (root / 'labels' / 'dog' / 'dog_1.pt').unlink()
    message = failure(root)
    assert 'train data: 1 of its 6 token labels' in message and f'{root}/labels' in message
    assert 'dog/dog_1.pt' in message and 'label_top5_train_nfnet' in message
    (root / 'labels').rename(root / 'elsewhere')
    message = failure(root)
    assert f'{root}/labels' in message and 'CLASS/IMAGE.pt' in message
    assert '--cfg-options train_dataloader.dataset.token_labels=DIR' in message


class Evil:
    def __reduce__(self):
        return print, ('run!',)


@pytest.mark.parametrize(
    ('content', 'expected'),
    [
        (labels()[0], r'\(5, 4, 4\); expected .*\(2, k, h, w\)'),
        (dict(labels=labels()), 'holds dict; expected a tensor'),
        (labels()[:, :0], 'is empty'),
        (labels().fill_(float('nan')), 'not finite'),
        (labels().fill_(2), 'has class 2, expected .* 0 to 1 '),
        (labels().fill_(-1), 'has class -1, expected'),
        (labels().fill_(0.5), 'has class 0.5, expected'),
        (labels()[..., :3], r'\(2, 5, 4, 3\), but .*\(2, 5, 4, 4\)'),
        (Evil(), 'cat_2.pt: refused: it contains .*print'),
    ],
    ids=['shape', 'dict', 'empty', 'nan', 'range', 'negative', 'fraction', 'other shape', 'code'],
)
def test_other_content(content, expected, root, capsys):
    path = root / 'labels' / 'cat' / 'cat_2.pt'
    torch.save(content, path)
    message = failure(root)
    assert message.startswith(str(path))
    with pytest.raises(UserError, match=expected):
        check(root)
    assert 'run!' not in capsys.readouterr().out


def test_class_1000_of_imagenet(tmp_path):
    values = labels()
    values[1] = 999
    torch.save(values, tmp_path / 'a.pt')
    assert read_token_labels(str(tmp_path / 'a.pt'), 1000).max() == 999  # exact in half precision
    values[1] = 1000
    torch.save(values, tmp_path / 'a.pt')
    with pytest.raises(UserError, match=r'has class 1000, expected .* 0 to 999'):
        read_token_labels(str(tmp_path / 'a.pt'), 1000)


def test_a_truncated_file(root):
    path = root / 'labels' / 'cat' / 'cat_0.pt'
    path.write_bytes(path.read_bytes()[:300])
    assert 'not a readable token label' in failure(root)


ROWS, COLUMNS = 6, 5
HEIGHT, WIDTH = 120, 90  # px


def numbered():
    """Return an image whose cells have each a grey of its own, and labels that say which."""
    numbers = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    grey = (50 + 5 * numbers).repeat(HEIGHT // ROWS, 0).repeat(WIDTH // COLUMNS, 1)
    scores = np.stack([np.full(numbers.shape, 9.0), np.full(numbers.shape, 1.0)])
    classes = np.stack([numbers, (numbers + 1) % numbers.size])
    image = grey[..., None].repeat(3, 2).astype(np.uint8)
    return dict(img=image, token_labels=np.stack([scores, classes]).astype(np.float32))


def shown(image):
    """Return the number of the cell that the centre of each cell shows, -1 for none."""
    rows = np.arange(ROWS) * HEIGHT // ROWS + HEIGHT // ROWS // 2
    columns = np.arange(COLUMNS) * WIDTH // COLUMNS + WIDTH // COLUMNS // 2
    grey = image[np.ix_(rows, columns)][..., 0].astype(int)
    return np.where(grey, (grey - 50) // 5, -1)


POLICIES = [
    dict(type='Rotate', magnitude_range=(0, 30)),
    dict(type='Shear', magnitude_range=(0, 0.3), direction='horizontal'),
    dict(type='Shear', magnitude_range=(0, 0.3), direction='vertical'),
    dict(type='Translate', magnitude_range=(0, 0.45), direction='horizontal'),
    dict(type='Translate', magnitude_range=(0, 0.45), direction='vertical'),
]


@pytest.mark.parametrize('policy', range(len(POLICIES)))
def test_rand_augment_moves_labels_as_pixels(policy):
    augment = TRANSFORMS.build(
        dict(
            type='RandAugmentWithTokenLabels',
            policies=[dict(POLICIES[policy], interpolation='nearest', pad_val=0)],
            num_policies=2,
            magnitude_level=9,
            magnitude_std=0.5,
        )
    )
    changed = 0
    for seed in range(12):
        np.random.seed(seed)
        results = augment(numbered())
        scores, classes = results['token_labels']
        expected = shown(results['img'])
        assert np.array_equal(np.where(scores[0] > 0, classes[0], -1), expected)
        assert np.array_equal(scores[1] > 0, expected >= 0)
        changed += not np.array_equal(expected, shown(numbered()['img']))
    assert changed >= 4
    operation = augment.transforms[0]
    assert (operation.interpolation, operation.pad_val) == ('nearest', 0)
    assert not hasattr(operation, '_cache_enabled')


def test_rand_augment_draws_as_mmpretrains():
    """The same random numbers give the same image: the labels cost none."""
    common = dict(policies='timm_increasing', num_policies=2, magnitude_level=9, magnitude_std=0.5)
    images = []
    for kind in ('RandAugment', 'RandAugmentWithTokenLabels'):
        augment = TRANSFORMS.build(dict(type=kind, **common))
        np.random.seed(3)
        images.append([augment(numbered())['img'] for _ in range(20)])
    assert all(np.array_equal(*pair) for pair in zip(*images, strict=True))


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
def test_flip(direction):
    flip = TRANSFORMS.build(dict(type='FlipWithTokenLabels', prob=1.0, direction=direction))
    results = flip(numbered())
    expected = shown(results['img'])
    assert np.array_equal(results['token_labels'][1, 0], expected)
    assert expected[0, 0] == dict(horizontal=4, vertical=25, diagonal=29)[direction]


def test_a_cropped_images_targets_are_what_it_shows():
    """Each quarter of the image has its class: positions well inside one must say which."""
    crop = TRANSFORMS.build(dict(type='CropWithTokenLabels', scale=64, interpolation='nearest'))
    flip = TRANSFORMS.build(dict(type='FlipWithTokenLabels', prob=0.5))
    quarters = np.array([[0, 1], [2, 3]])
    compared = 0
    for seed in range(30):
        np.random.seed(seed)
        grey = quarters.repeat(HEIGHT // 2, 0).repeat(WIDTH // 2, 1).astype(np.uint8)
        classes = quarters.repeat(9, 0).repeat(9, 1)[None]
        values = np.stack([np.full(classes.shape, 20), classes]).astype(np.float32)
        results = crop(flip(dict(img=grey[..., None].repeat(3, 2), token_labels=values)))
        scores = spread(torch.as_tensor(results['token_labels'])[None], 4)
        cells, _ = crop_targets(scores, torch.as_tensor(results['crop'])[None], (4, 4), 0.0)
        patches = results['img'][..., 0].reshape(4, 16, 4, 16)
        pure = patches.min((1, 3)) == patches.max((1, 3))
        found = cells[0].argmax(0).numpy()
        # A label covers a ninth of a quarter's side, so one beside an edge sees both.
        certain = pure & (cells[0].amax(0) > 0.9).numpy()
        assert certain.sum() >= 0.5 * pure.sum()
        assert np.array_equal(found[certain], patches[:, 0, :, 0][certain])
        compared += certain.sum()
    assert compared > 200
