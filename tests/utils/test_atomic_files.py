"""Writes are all or nothing."""

import os
import stat

import pytest
from mmengine import fileio

from glmix_mm.utils.atomic_files import ATOMIC, atomic_in_mmengine, write_atomically


def test_writes_and_replaces(tmp_path):
    path = tmp_path / 'new' / 'file.bin'
    write_atomically(path, b'one')
    write_atomically(path, b'two')
    assert path.read_bytes() == b'two'
    assert os.listdir(path.parent) == ['file.bin']
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize('failing', ['fsync', 'replace'])
def test_failure_leaves_the_old_file_and_no_trace(tmp_path, monkeypatch, failing):
    path = tmp_path / 'file.bin'
    path.write_bytes(b'old')

    def fail(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match='No space left') as info:
        write_atomically(path, b'new')
    assert info.value.filename == str(path)
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['file.bin']


def test_mmengine_writes_through_it_in_a_command_or_by_its_name(tmp_path, monkeypatch):
    path = tmp_path / 'note.txt'
    by_name = dict(backend=ATOMIC)
    with atomic_in_mmengine():
        fileio.put_text('grüße', str(path))
        assert path.read_text(encoding='utf-8') == 'grüße'
        monkeypatch.setattr(os, 'replace', stop)
        with pytest.raises(OSError, match='stopped'):
            fileio.put(b'lost', str(path))
    with pytest.raises(OSError, match='stopped'):
        fileio.put(b'lost', str(path), backend_args=by_name)
    assert path.read_text(encoding='utf-8') == 'grüße'
    fileio.put(b'by mmengine', str(path))
    assert path.read_bytes() == b'by mmengine'


def stop(*args):
    raise OSError(5, 'stopped')
