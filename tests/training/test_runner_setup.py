"""Several processes, and the shell scripts that start them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from glmix_mm.checkpoints.safe_reading import read_checkpoint
from glmix_mm.cli import run
from glmix_mm.inference import test as testing
from glmix_mm.training import runner_setup

TOOLS = Path(__file__).parents[2] / 'tools'


def read_scores(work_dir):
    (path,) = work_dir.glob('*/2*.json')
    return {key: value for key, value in json.loads(path.read_text()).items() if 'mAP' in key}


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


def shell(script, *arguments, **variables):
    environment = dict(os.environ, PYTHON=sys.executable, PORT=free_port(), **variables)
    environment.pop('LOCAL_RANK', None)
    python = [sys.executable] if script.endswith('.py') else []
    command = [*python, TOOLS / script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.device_count() == 1, reason='two processes need two GPUs or none')
def test_two_processes_train_and_test(nano_detector, demo_root, tmp_path):
    work_dir = tmp_path / 'work dir'  # the blank must survive the scripts
    common = ['--data-root', demo_root, '--work-dir', work_dir]
    options = ['--from-scratch', '--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_begin=9']
    done = shell('train.py', nano_detector, '--gpus', 2, *common, *options, OMP_NUM_THREADS='1')
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'Batch size: 4 x 2 processes = 8' in done.stdout
    checkpoint = read_checkpoint(work_dir / 'epoch_1.pth')
    assert checkpoint['meta']['iter'] == 1  # 8 images, 4 in each process
    path = work_dir / 'epoch_1.pth'
    done = shell('dist_test.sh', nano_detector, path, 2, *common, OMP_NUM_THREADS='1')
    assert done.returncode == 0, done.stderr[-2000:]
    alone = [nano_detector, path, '--data-root', demo_root, '--work-dir', tmp_path / 'alone']
    assert run(testing.main, [str(argument) for argument in alone]) == 0
    together, alone = (read_scores(folder) for folder in (work_dir, tmp_path / 'alone'))
    assert together == alone
    assert 'coco/segm_mAP' in alone


def test_slurm_gets_every_argument_as_it_is(tmp_path):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nfor argument; do echo "[$argument]"; done\n')
    srun.chmod(0o755)
    arguments = ('part', 'name', 'a b.py', 'work dir', '--cfg-options', 'x="[1, 2]"')
    path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    done = shell('slurm_train.sh', *arguments, PATH=path, GPUS='4', SRUN_ARGS='--mem 8G')
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    start = lines.index(f'[{TOOLS}/train.py]')
    assert lines[start + 1 :] == [
        '[a b.py]',
        '[--work-dir]',
        '[work dir]',
        '[--launcher]',
        '[slurm]',
        '[--cfg-options]',
        '[x="[1, 2]"]',
    ]
    asked = ' '.join(lines[:start])
    assert '[--partition] [part] [--job-name] [name]' in asked
    assert '[--ntasks] [4] [--ntasks-per-node] [4] [--gres] [gpu:4]' in asked
    assert '[--mem] [8G]' in asked


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh'])
def test_scripts_say_how_to_call_them(script):
    done = shell(script)
    assert done.returncode == 2
    assert f'tools/{script} ' in done.stderr


@pytest.mark.slow
def test_several_processes_end_with_the_status_and_the_line_of_one(demo_root, tmp_path):
    cut = tmp_path / 'cut.pth'
    cut.write_bytes(b'PK')
    arguments = ('demo/semfpn_glnet_nano', cut, '--data-root', demo_root, '--gpus', 2)
    done = shell('test.py', *arguments, '--work-dir', tmp_path / 'wd', OMP_NUM_THREADS='1')
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f'error: {cut}: ')
    assert 'Traceback' not in done.stderr


def test_disk_errors_of_other_kinds_pass_through(tmp_path):
    with pytest.raises(PermissionError), runner_setup.disk_guard(str(tmp_path)):
        raise PermissionError(13, 'Permission denied')
