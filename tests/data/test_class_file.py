"""A file of the names of classes, and of their colours."""

import shutil

import pytest

from glmix_mm.config.classes import use_found
from glmix_mm.config.data_root import apply_data_root
from glmix_mm.config.load_config import load_config
from glmix_mm.data import check_data
from glmix_mm.data.class_file import read_class_file
from glmix_mm.data.classes_from_data import read_classes
from glmix_mm.errors import UserError

ADE = 'ade/ADEChallengeData2016'


@pytest.mark.parametrize(
    ('text', 'names', 'colours'),
    [
        ('sky\ntraffic light\n', ['sky', 'traffic light'], None),
        (
            'sky 128 128 128\ntraffic light 0 4 5\n',
            ['sky', 'traffic light'],
            [(128,) * 3, (0, 4, 5)],
        ),
        (
            '128 128 128\tsky\n0 4 5\t\ttraffic light',
            ['sky', 'traffic light'],
            [(128,) * 3, (0, 4, 5)],
        ),
        ('sky,1,2,3\ncar, 4, 5, 6\n', ['sky', 'car'], [(1, 2, 3), (4, 5, 6)]),
        ('sky 1 2 3\ncar\n', ['sky 1 2 3', 'car'], None),  # not each line has one
        ('lane 1\nlane 2\n', ['lane 1', 'lane 2'], None),
    ],
)
def test_names_and_colours(text, names, colours, tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_text('\ufeff' + text, encoding='utf-8')
    assert read_class_file(path) == (names, colours)


@pytest.mark.parametrize(('text', 'said'), [('a\na\n', 'twice'), ('a 1 2 256\n', "'a' .* 255")])
def test_mistakes_name_the_file(text, said, tmp_path):
    path = tmp_path / 'mine.txt'
    path.write_text(text)
    with pytest.raises(UserError, match=rf'mine\.txt.*{said}'):
        read_class_file(path)


@pytest.fixture
def street(demo_root, tmp_path):
    """Return label maps that no file names, and a file of names and colours elsewhere."""
    root = shutil.copytree(demo_root / ADE, tmp_path / 'street')
    lines = [f'{name} 0 0 {number}' for number, name in enumerate('abcdef')]
    (tmp_path / 'names.txt').write_text('\n'.join(lines))
    return root, str(tmp_path / 'names.txt')


def test_a_file_names_the_classes_of_label_maps(street):
    root, names = street
    cfg = load_config('demo/semfpn_glnet_nano')
    apply_data_root(cfg, str(root))
    notes = use_found(cfg, read_classes(cfg, class_file=names))
    for split in ('train', 'val', 'test'):
        metainfo = cfg[f'{split}_dataloader'].dataset.metainfo
        assert metainfo.classes == tuple('abcdef') and metainfo.palette[5] == (0, 0, 5)
    assert names in notes[0]


def test_check_data_takes_it_and_passes_it_on(street, capsys):
    root, names = street
    check_data.main([str(root), '--classes', names])
    printed = capsys.readouterr().out
    assert printed.rstrip().endswith(f'--data-root {root} --classes {names}')


def test_it_is_for_label_maps_and_has_to_be_there(street, demo_root):
    root, names = street
    for config, folder, file, said in (
        ('demo/maskrcnn_glnet_nano', demo_root / 'coco', names, 'label maps'),
        ('demo/semfpn_glnet_nano', root, f'{names}.old', 'no such file'),
    ):
        cfg = load_config(config)
        apply_data_root(cfg, str(folder))
        with pytest.raises(UserError, match=said):
            read_classes(cfg, class_file=file)
