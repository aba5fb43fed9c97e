"""Look-up of released weights by name."""

import pytest
import torch
from mmengine.runner.checkpoint import _load_checkpoint

from glmix_mm.checkpoints.released_weights import RELEASES, find_release
from glmix_mm.errors import UserError


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('GLMIX_CHECKPOINTS', str(tmp_path / 'named'))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    return [tmp_path / 'named', tmp_path / 'checkpoints', tmp_path / 'torch/hub/checkpoints']


def test_folders_in_order(folders):
    for value, folder in reversed(list(enumerate(folders))):
        folder.mkdir(parents=True)
        torch.save({'model': {'w': torch.tensor(value)}}, folder / 'glnet_4g.pth')
        assert find_release('glmix://glnet_4g').resolve() == folder / 'glnet_4g.pth'
        assert _load_checkpoint('glmix://glnet_4g')['model']['w'] == value


# Release -> the repository of its authors and who serves its file, which the page links to.
PUBLISHED = {
    **dict.fromkeys(
        [
            'glnet_4g',
            'glnet_9g',
            'glnet_16g',
            'glnet_4g_tklb',
            'glnet_9g_tklb',
            'glnet_stl',
            'glnet_stl_paramslot',
        ],
        ('https://github.com/rayleizhu/GLMix#', 'OneDrive'),
    ),
    **dict.fromkeys(
        ['dilateformer_tiny', 'dilateformer_small', 'dilateformer_base'],
        ('https://github.com/JIAOJIAYUASD/dilateformer#', 'Google Drive'),
    ),
    **dict.fromkeys(
        ['fcvit_tiny', 'fcvit_b12', 'fcvit_b24', 'fcvit_b48'],
        ('https://github.com/ma-xu/FCViT#', 'Google Drive'),
    ),
}


def test_every_published_variant_is_known():
    assert list(RELEASES) == list(PUBLISHED)


@pytest.mark.parametrize('release', PUBLISHED)
def test_absent_file(release, folders):
    with pytest.raises(UserError) as info:
        find_release(f'glmix://{release}')
    message = str(info.value)
    page, server = PUBLISHED[release]
    assert message.startswith(f'glmix://{release}: {release}.pth is not in ')
    assert f'Download it from {page}' in message
    assert {name for name in ('OneDrive', 'Google Drive') if name in message} == {server}
    assert f'save it as {release}.pth' in message
    assert all(str(folder) in message for folder in folders)
    assert '--from-scratch' in message and '\n' not in message


@pytest.mark.parametrize('release', PUBLISHED)
def test_a_file_of_that_name_is_found(release, folders):
    folders[1].mkdir()
    expected = folders[1] / f'{release}.pth'
    expected.touch()
    assert find_release(f'glmix://{release}').resolve() == expected


def test_default_cache_folder(monkeypatch, tmp_path):
    for variable in ('GLMIX_CHECKPOINTS', 'TORCH_HOME', 'XDG_CACHE_HOME'):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv('HOME', str(tmp_path))
    with pytest.raises(UserError, match=f'{tmp_path}/.cache/torch/hub/checkpoints'):
        find_release('glmix://glnet_9g_tklb')


def test_unknown_release():
    with pytest.raises(UserError, match=r'glmix://glnet_5g: .*glnet_4g'):
        find_release('glmix://glnet_5g')
