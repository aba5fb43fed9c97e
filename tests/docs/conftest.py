"""A folder laid out as the pages take it to be, and a shell in it."""

import logging
import os
import shutil
from unittest import mock

import pytest
from mmengine.registry import HOOKS
from pages import ROOT
from runs import forget
from shell import Shell
from shrink import DEEP, shrink
from stand_ins import write_all, write_weights

pytest.register_assert_rewrite('checks')

SHARED = {'checkpoints', 'data', 'photos'}  # which no command writes to


@pytest.fixture(autouse=True)
def as_found():
    """Let no run find another's variables, visualizer, or logger, which holds captured stdout."""
    forget()
    with mock.patch.dict(os.environ):
        yield
    forget()
    logging.disable(logging.NOTSET)
    HOOKS._module_dict.pop('MemoryHook', None)  # leaks_proof.py's


@pytest.fixture
def small():
    """Make configs and models small."""
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        yield


@pytest.fixture(scope='session')
def layout(tmp_path_factory):
    """Return a folder laid out as the pages take it to be."""
    folder = tmp_path_factory.mktemp('layout')
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        write_all(folder, ROOT)
    return folder


@pytest.fixture
def folder(layout, tmp_path, monkeypatch):
    """Return such a folder to work in, as the current one."""
    folder = tmp_path / 'folder'

    def leave(parent, names):
        return SHARED if parent == str(layout) else ()

    shutil.copytree(layout, folder, symlinks=True, ignore=leave)
    for name in SHARED:
        (folder / name).symlink_to(layout / name)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def shell(folder, small, capsys):
    """Return what runs commands in that folder, everything small."""
    return Shell(capsys)


@pytest.fixture
def deep_shell(folder, capsys):
    """Return the same with as many blocks as the pages draw."""
    (folder / 'checkpoints').unlink()
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch, DEEP)
        write_weights(folder)
        yield Shell(capsys)


@pytest.fixture
def full_size_shell(folder, capsys):
    """Return what runs commands in that folder, nothing small."""
    return Shell(capsys)
