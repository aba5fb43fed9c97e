"""Checkpoints are read without running code from them, and mmengine reads its own."""

import pickle
import zipfile
from argparse import Namespace
from collections import defaultdict

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import _load_checkpoint, save_checkpoint

from glmix_mm.checkpoints.safe_reading import load_checkpoint, read_checkpoint, safe_in_mmengine
from glmix_mm.errors import UserError


class CreatesFile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


class Looks:
    def __reduce__(self):
        return getattr, (list, 'append')


def history():
    buffer = HistoryBuffer()
    buffer.update(np.float64(1.0))
    buffer.update(3)
    return buffer


def test_mmengines_own_checkpoints(tmp_path):
    path = str(tmp_path / 'epoch_1.pth')
    content = dict(
        state_dict={'weight': torch.arange(3)},
        message_hub=dict(
            log_scalars={'loss': history()},
            runtime_info={'iter': np.int64(5), 'lr': np.float32(0.1), 'seen': np.arange(4)},
        ),
        meta=dict(args=Namespace(seed=1), counts=defaultdict(int, a=2)),
    )
    save_checkpoint(content, path)
    for read in (read_checkpoint, in_a_command, _load_checkpoint, torch.load):
        found = read(path)
        assert found['message_hub']['log_scalars']['loss'].mean() == 2
        assert found['message_hub']['runtime_info']['iter'] == 5
        assert found['message_hub']['runtime_info']['seen'].tolist() == [0, 1, 2, 3]
        assert found['meta']['args'].seed == 1 and found['meta']['counts']['a'] == 2


def test_settings_that_the_authors_save_are_passed_over(tmp_path, monkeypatch):
    """Hydra's settings stand beside the weights; omegaconf is neither needed nor run."""
    path = tmp_path / 'glnet.pth'
    torch.save({'model': {'w': torch.ones(2)}, 'args': CreatesFile(tmp_path / 'x')}, path)
    settings = b'comegaconf.dictconfig\nDictConfig\n'
    rewrite(path, b'c__builtin__\nopen\n', settings, b'cio\nopen\n', b'c_io\nopen\n')
    found = read_checkpoint(path)
    assert torch.equal(found['model']['w'], torch.ones(2))
    assert not (tmp_path / 'x').exists()


def rewrite(path, *names):
    """Replace whichever global of `names` calls `open` by the second of them."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    pickled = next(name for name in files if name.endswith('data.pkl'))
    for name in (names[0], *names[2:]):
        files[pickled] = files[pickled].replace(name, names[1])
    assert b'DictConfig' in files[pickled]
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in files.items():
            archive.writestr(name, data)


@safe_in_mmengine()
def in_a_command(path):
    return _load_checkpoint(path)


@pytest.mark.parametrize('read', [read_checkpoint, load_checkpoint, in_a_command])
def test_code_is_refused_and_not_run(read, tmp_path):
    path, trace = tmp_path / 'evil.pth', tmp_path / 'trace'
    torch.save({'state_dict': {'w': torch.ones(1)}, 'meta': CreatesFile(trace)}, path)
    with pytest.raises(UserError, match=r'evil\.pth: refused: .*open'):
        read(str(path))
    assert not trace.exists()
    # The same file does create the trace where pickle is trusted, so the test can fail.
    torch.load(path, weights_only=False)
    assert trace.exists()


def test_getattr_is_no_way_around(tmp_path):
    path = tmp_path / 'evil.pth'
    torch.save({'meta': Looks()}, path)
    with pytest.raises(UserError, match=r'refused: .*builtins\.getattr'):
        read_checkpoint(path)


def test_files_from_the_web_are_read_safely_too(tmp_path, monkeypatch):
    trace = tmp_path / 'trace'
    torch.save({'meta': CreatesFile(trace)}, tmp_path / 'evil.pth')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    address = (tmp_path / 'evil.pth').as_uri()
    with safe_in_mmengine(), pytest.raises(pickle.UnpicklingError):
        mmengine_checkpoint.load_url(address)
    assert not trace.exists()
    mmengine_checkpoint.load_url(address)  # torch.hub's own, in other programs
    assert trace.exists()


@pytest.mark.parametrize(
    'damage', [lambda data: data[: len(data) // 2], lambda data: b'', lambda data: b'not a file']
)
def test_damaged_files(damage, tmp_path):
    path = tmp_path / 'damaged.pth'
    torch.save({'state_dict': {'w': torch.ones(1000)}}, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r'damaged\.pth: .*\([\d,]+ bytes') as info:
        read_checkpoint(path)
    assert '\n' not in str(info.value) and 'copy or download it again' in str(info.value)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match='no such checkpoint file'):
        in_a_command(str(tmp_path / 'absent.pth'))
    with pytest.raises(FileNotFoundError):  # mmengine's own, in other programs
        _load_checkpoint(str(tmp_path / 'absent.pth'))


def test_claims_cannot_hide_behind_another_pickle(tmp_path):
    path, changed = tmp_path / 'whole.pth', tmp_path / 'changed.pth'
    torch.save({'w': torch.arange(10.0)}, path)
    assert read_checkpoint(path)['w'].tolist() == list(range(10))
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(changed, 'w') as target:
        top = source.namelist()[0].partition('/')[0]
        target.writestr(f'{top}/decoy_data.pkl', pickle.dumps({}))
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(UserError, match='it holds 2 pickles instead of one'):
        read_checkpoint(changed)
