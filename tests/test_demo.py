"""The demo end to end, shortened to a few steps, and its progress display."""

import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from glmix_mm import demo
from glmix_mm.compat.startup import config_root
from glmix_mm.data.demo_set import DEMO_CLASSES, DEMO_SEG_CLASSES, DEMO_SEG_PALETTE
from glmix_mm.data.demo_set import write_demo_dataset as write
from glmix_mm.demo import TASKS, run_demo
from glmix_mm.errors import UserError
from glmix_mm.utils import progress

SHORT = {
    'train_cfg.max_iters': 4,
    'train_cfg.val_interval': 2,
    'train_dataloader.batch_size': 2,
    'train_dataloader.dataset.indices': None,
    'default_hooks.checkpoint.interval': 4,
}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('demo') / 'data'
    return write(root, num_train=4, num_val=3)


@pytest.fixture
def small_set(data, monkeypatch):
    """Let the demo find a set of a few images where it would make the full one."""
    calls = []
    monkeypatch.setattr(demo, 'THREADS', torch.get_num_threads())
    monkeypatch.setattr(demo, 'write_demo_dataset', lambda root: calls.append(root) or data)
    return calls


@pytest.mark.parametrize('task', TASKS)
def test_a_short_demo_trains_tests_and_draws(task, small_set, tmp_path, capsys):
    scores = run_demo(task, tmp_path / 'out', options=SHORT)
    assert small_set == [tmp_path / 'out/data']
    assert list(scores) == [metric.name for metric in TASKS[task].metrics]
    assert all(0 <= value < 0.9 for value in scores.values())

    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert printed.count('held-out images: ') == 2
    assert 'step 4/4   held-out images: ' in printed
    assert any(line.startswith(f'{TASKS[task].title}, on 3 held-out images') for line in lines)
    for metric in TASKS[task].metrics:
        assert any(
            line.split()[: len(metric.name.split()) + 1]
            == [*metric.name.split(), f'{scores[metric.name]:.3f}']
            for line in lines
        )
    assert 'mmengine' not in printed  # its lines are in the log file
    assert 'MISSED' in printed

    picture = tmp_path / 'out' / task / 'predictions.png'
    assert f'Pictures: {picture}' in lines
    with Image.open(picture) as sheet:
        assert sheet.width > 3 * 2 * 192
        assert sheet.height > 2 * 2 * 192  # of three images two have objects
    panel = tmp_path / 'out' / task / 'slots.png'
    assert f'Slots of the first: {panel}' in lines
    with Image.open(panel) as picture:
        assert picture.width > 1000
    logs = list((tmp_path / 'out' / task).glob('*/*.log'))
    assert len(logs) == 1
    assert 'loss' in logs[0].read_text()
    assert (tmp_path / 'out' / task / 'iter_4.pth').is_file()


@pytest.mark.parametrize('task', TASKS)
def test_config_names_the_demo_sets_classes(task):
    cfg = Config.fromfile(config_root() / TASKS[task].config)
    expected = {'maskrcnn': DEMO_CLASSES, 'semfpn': DEMO_SEG_CLASSES}[task]
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert tuple(loader.dataset.metainfo.classes) == expected
    if task == 'semfpn':
        palette = cfg.train_dataloader.dataset.metainfo.palette
        assert [tuple(colour) for colour in palette] == list(DEMO_SEG_PALETTE)


def test_a_missed_target_is_an_error(monkeypatch):
    scores = {'box AP': 0.5, 'box AP50': 0.89, 'mask AP': 0.71, 'mask AP50': 0.9}
    monkeypatch.setattr(demo, 'run_demo', lambda *_: scores)
    with pytest.raises(UserError, match=r'box AP50 is 0.890, .* 0.9$'):
        demo.main([])
    scores['box AP50'] = 0.9
    demo.main([])


def test_a_foreign_data_folder_ends_in_one_line(tmp_path):
    (tmp_path / 'notes.txt').write_text('mine')
    tool = Path(__file__).parents[1] / 'tools/demo.py'
    command = [sys.executable, tool, '--work-dir', tmp_path / 'out', '--data-root', tmp_path]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(f'error: {tmp_path} is not empty and is not')
    assert 'Traceback' not in result.stderr


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(progress.time, 'monotonic', lambda: self.now)


def test_without_a_terminal_a_line_every_ten_seconds(monkeypatch):
    clock, stream = Clock(monkeypatch), io.StringIO()
    display = progress.Progress(stream)
    for second in range(25):
        clock.now = 100.0 + second
        display.update(f'second {second}')
    display.keep('end')
    assert stream.getvalue() == 'second 0\nsecond 10\nsecond 20\nend\n'


def test_on_a_terminal_one_line_is_rewritten(monkeypatch):
    clock, stream = Clock(monkeypatch), io.StringIO()
    stream.isatty = lambda: True
    display = progress.Progress(stream)
    for text in ('a long line', 'short'):
        display.update(text)
        display.update('too soon')
        clock.now += 1
    display.keep('end')
    screen = [line.split('\r') for line in stream.getvalue().split('\n')]
    assert len(screen) == 2
    assert 'too soon' not in stream.getvalue()
    written = [part for part in screen[0] if part]
    assert written == ['a long line', 'short      ', '     ', 'end']


def test_time_left_follows_from_the_steps_done(monkeypatch):
    clock, stream = Clock(monkeypatch), io.StringIO()
    hook = progress.ProgressHook(progress.Progress(stream), {'mIoU': ('mIoU', 100)})
    runner = SimpleNamespace(iter=0, max_iters=8)
    hook.before_train(runner)
    clock.now += 30
    runner.iter = 1  # the second step is done: 30 s for two, so 90 s for six
    hook.after_train_iter(runner, 1, outputs=dict(loss=torch.tensor(0.25)))
    runner.iter = 2
    hook.after_val_epoch(runner, dict(mIoU=81.25))
    assert stream.getvalue() == (
        '  step 2/8   loss 0.250   passed 0:30   left 1:30\n'
        '  step 2/8   held-out images: mIoU 0.812   passed 0:30\n'
    )
    assert hook.metrics == dict(mIoU=81.25)
