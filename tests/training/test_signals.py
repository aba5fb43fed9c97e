"""Kills, SIGTERM and Ctrl-C: what is saved, what is said, and that going on gives the same bits."""

import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from interruption_proof import equal
from runs import train

from glmix_mm.checkpoints.safe_reading import read_checkpoint
from glmix_mm.cli import main as glmix
from glmix_mm.cli import run
from glmix_mm.training import signals as training_signals
from glmix_mm.training import train as training
from glmix_mm.training.exact_loops import ExactEpochBasedTrainLoop
from glmix_mm.training.signals import Interrupted, Signals, kept_signals, resume_command

pytestmark = pytest.mark.slow

# Two epochs of four steps; mmengine's AdamW keeps its state, EMAHook the average.
SHORT = ('--deterministic', '--cfg-options', 'train_dataloader.batch_size=2')
KEYS = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')


def test_killed_trainings_resume_to_the_same_bits(tmp_path):
    proof = Path(__file__).parent / 'interruption_proof.py'
    command = [sys.executable, proof, tmp_path, '--kills', '3', '--tasks', 'maskrcnn']
    environment = dict(os.environ, OMP_NUM_THREADS='1')
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == '3 of 3 resumed to the same bits'


def final_state(folder):
    checkpoint = read_checkpoint(folder / 'epoch_2.pth')
    return {key: checkpoint[key] for key in KEYS}


@pytest.fixture(scope='module')
def uninterrupted(nano_classifier, image_root, tmp_path_factory):
    """Return the state after two epochs without interruption."""
    folder = tmp_path_factory.mktemp('uninterrupted')
    assert train(nano_classifier, image_root, folder, *SHORT) == 0
    return final_state(folder)


def send(monkeypatch, cls, method, number, signum):
    """Send a signal to this process and its workers when a method is called for the n-th time."""
    original, calls = getattr(cls, method), []

    def sending(*arguments, **keywords):
        calls.append(1)
        if len(calls) == number:
            # From another process, as torchrun, Slurm and systemd send it.
            workers = [str(worker.pid) for worker in multiprocessing.active_children()]
            subprocess.run(['kill', f'-{signum.value}', str(os.getpid()), *workers], check=True)
        return original(*arguments, **keywords)

    monkeypatch.setattr(cls, method, sending)


@pytest.mark.parametrize('workers', [0, 2])
def test_sigterm_inside_an_epoch(
    workers, uninterrupted, nano_classifier, image_root, tmp_path, monkeypatch, capfd
):
    short = (*SHORT, f'train_dataloader.num_workers={workers}')
    with monkeypatch.context() as patch:
        send(patch, ExactEpochBasedTrainLoop, 'run_iter', 6, signal.SIGTERM)
        assert train(nano_classifier, image_root, tmp_path, *short) == 128 + signal.SIGTERM
    err = capfd.readouterr().err
    assert 'SIGTERM: stopping after this step\n' in err
    last = err.splitlines()[-1]
    saved = tmp_path / 'interrupted.pth'
    assert last.startswith(f'stopped by SIGTERM after step 6; saved {saved}; continue with: ')
    assert last.endswith(f'{shlex.join(short)} --resume')
    meta = read_checkpoint(saved)['meta']
    assert (meta['epoch'], meta['iter']) == (1, 6)
    program, *arguments = shlex.split(last.split('; continue with: ')[1])
    assert program == 'glmix' and glmix(arguments) == 0
    assert not saved.exists()
    assert equal(final_state(tmp_path), uninterrupted)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_ctrl_c_in_a_validation(
    uninterrupted, nano_classifier, image_root, tmp_path, monkeypatch, capfd
):
    with monkeypatch.context() as patch:
        # The average stands in the model's place then; what is saved is the model.
        send(patch, training_signals.InterruptHook, 'after_val_iter', 1, signal.SIGINT)
        assert train(nano_classifier, image_root, tmp_path, *SHORT) == 128 + signal.SIGINT
    assert 'stopped by SIGINT after step 4; saved' in capfd.readouterr().err
    assert not list(tmp_path.glob('best_*'))
    assert train(nano_classifier, image_root, tmp_path, '--resume', *SHORT) == 0
    assert equal(final_state(tmp_path), uninterrupted)
    out = capfd.readouterr().out
    assert out.index('Epoch(val) [1]') < out.index('Epoch(train) [2]'), 'validated what was missed'


def test_a_signal_before_the_first_step_ends_the_run(capsys):
    def main(argv):
        with kept_signals('none'):
            signal.raise_signal(signal.SIGTERM)

    assert run(main, []) == 128 + signal.SIGTERM
    assert capsys.readouterr().err == 'stopped by SIGTERM before the first step\n'


def test_a_second_ctrl_c_ends_the_run_at_once(capfd):
    with kept_signals('none') as signals:
        signals.training = True
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)  # no more than the first
        with pytest.raises(Interrupted, match='nothing was saved'):
            signal.raise_signal(signal.SIGINT)
    assert signals.received == signal.SIGINT
    assert capfd.readouterr().err == 'SIGINT: stopping after this step\n'


def killed_at_once(results):
    """Fork processes that each get a SIGTERM before their first line has run; add their ends."""
    for _ in range(20):
        child = os.fork()
        if not child:
            time.sleep(2)
            os._exit(1)
        os.kill(child, signal.SIGTERM)
        results.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


@pytest.mark.parametrize('in_thread', [False, True])
def test_a_forked_process_obeys_a_signal_from_its_first_moment(in_thread):
    results = []
    with kept_signals('none') as signals:
        signals.training = True
        if in_thread:
            forking = threading.Thread(target=killed_at_once, args=[results])
            forking.start()
            forking.join()
        else:
            killed_at_once(results)
        assert not signals.received
        signal.raise_signal(signal.SIGTERM)  # still taken here
        assert signals.received == signal.SIGTERM
    assert results == 20 * [-signal.SIGTERM]


def state_in_fork():
    """Return the handlers and the blocked signals of a forked process, as text."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        handlers = [signal.getsignal(signum) for signum in training_signals.SIGNALS]
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        os.write(writing, repr([*map(str, handlers), sorted(blocked)]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as file:
        return file.read()


def test_outside_a_training_forks_are_as_ever():
    before = state_in_fork()
    with kept_signals('none'):
        own, ignored = str(signal.default_int_handler), str(signal.SIG_IGN)
        assert state_in_fork() == before.replace(own, ignored)  # Ctrl-C is the training's
    assert state_in_fork() == before


def test_a_signal_in_the_middle_of_a_fork_is_kept():
    with kept_signals('none') as signals:
        training_signals._forks.block()
        signal.raise_signal(signal.SIGTERM)
        assert not signals.received
        training_signals._forks.unblock()  # an exception in this hook would be lost
        assert signals.received == signal.SIGTERM


def test_ctrl_c_in_a_terminal_leaves_a_process_pool_its_work():
    code = (
        'import multiprocessing, os, signal, time\n'
        'from glmix_mm.training.signals import kept_signals\n'
        'with kept_signals("none") as signals, multiprocessing.Pool(2) as pool:\n'
        '    signals.training = True\n'
        '    result = pool.map_async(time.sleep, [0.5, 0.5])\n'
        '    time.sleep(0.2)\n'
        '    os.killpg(0, signal.SIGINT)\n'
        '    result.get(20)\n'
        '    print(signals.received)\n'
    )
    command = [sys.executable, '-c', code]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, start_new_session=True
    )
    assert done.stdout == f'{int(signal.SIGINT)}\n', done.stderr


@pytest.mark.parametrize('speaks', [True, False])
def test_under_torchrun_a_repeated_ctrl_c_changes_nothing(speaks, capfd):
    signals = Signals(alone=False, speaks=speaks)
    signals.training = True
    for _ in range(2):
        signals(signal.SIGINT, None)
    assert signals.received == signal.SIGINT
    said = 'SIGINT: stopping with the other processes, in a few steps\n'
    assert capfd.readouterr().err == (said if speaks else '')


@pytest.mark.parametrize('rank', ['0', '1'])
def test_one_process_of_several_says_how_to_go_on(rank, monkeypatch, capfd):
    def stop(*_):
        raise Interrupted('stopped by SIGTERM', signal.SIGTERM)

    monkeypatch.setenv('RANK', rank)
    monkeypatch.setenv('LOCAL_RANK', rank)
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.setattr(training, 'train', stop)
    arguments = ['demo/maskrcnn_glnet_nano', '--launcher', 'pytorch']
    assert run(training.main, arguments) == 128 + signal.SIGTERM
    said = 'stopped by SIGTERM; continue with: the same command with --resume\n'
    assert capfd.readouterr().err == (said if rank == '0' else '')


@pytest.mark.parametrize(
    ('argv', 'expected'),
    [
        (['a.py'], ['a.py']),
        (['a.py', '--resume', '--amp'], ['a.py', '--amp']),
        (['a.py', '--resume', 'old file.pth', '--amp'], ['a.py', '--amp']),
        (
            ['--resume=old.pth', 'a.py', '--cfg-options', 'a="b c"'],
            ['a.py', '--cfg-options', 'a="b c"'],
        ),
    ],
)
def test_the_command_that_goes_on(argv, expected):
    command = shlex.split(resume_command(argv, 'none'))
    assert command == ['glmix', 'train', *expected, '--resume']
    assert resume_command(argv, 'pytorch') == 'the same command with --resume'
    by_hand = ['--launcher', 'pytorch', *argv, '--gpus', '2']
    assert resume_command(by_hand, 'pytorch', gpus=2) == 'the same command with --resume'
    started = [*argv, '--gpus', '2', '--launcher', 'pytorch']
    command = shlex.split(resume_command(started, 'pytorch', gpus=2))
    assert command == ['glmix', 'train', *expected, '--gpus', '2', '--resume']
