"""Launchers: their variables, equal weights under each, restarts, and runs that can't start."""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from interruption_proof import equal
from mmengine.config import Config

from glmix_mm.checkpoints.safe_reading import read_checkpoint
from glmix_mm.errors import UserError
from glmix_mm.training import launchers
from glmix_mm.training.launchers import check_launcher

ROOT = Path(__file__).parents[2]
CLUSTER = Path(__file__).with_name('slurm_cluster.sh')
DAEMONS = all(shutil.which(name, path=os.defpath + ':/usr/sbin') for name in ('slurmd', 'munged'))
two_processes = pytest.mark.skipif(
    torch.cuda.device_count() == 1, reason='two processes need two GPUs or none'
)
needs_mpi = pytest.mark.skipif(not shutil.which('mpirun'), reason='Open MPI is not installed')
needs_slurm = pytest.mark.skipif(
    not DAEMONS or os.geteuid() != 0, reason='Slurm is not installed, or this is not root'
)
STEPS, SAVING = 12, 4  # in all, between checkpoints
VARIABLES = {
    'pytorch': dict(RANK='1', LOCAL_RANK='1', WORLD_SIZE='2'),
    'slurm': dict(
        SLURM_PROCID='1', SLURM_LOCALID='1', SLURM_NTASKS='2', SLURM_JOB_ID='7', SLURM_STEP_ID='0'
    ),
    'mpi': dict(
        OMPI_COMM_WORLD_RANK='1',
        OMPI_COMM_WORLD_LOCAL_RANK='1',
        OMPI_COMM_WORLD_SIZE='2',
        OMPI_COMM_WORLD_LOCAL_SIZE='2',
        PMIX_NAMESPACE='7',
    ),
}
CONFIG = """
_base_ = 'glmix_mm::demo/semfpn_glnet_nano.py'
custom_imports = dict(imports=['glmix_mm', 'killed'])
custom_hooks = {hooks}
"""


@pytest.fixture
def started(monkeypatch):
    """Return a function that sets a launcher's variables and no other's."""

    def start(launcher, **changes):
        monkeypatch.setattr(os, 'environ', dict(VARIABLES[launcher], **changes))

    return start


@pytest.mark.parametrize('launcher', VARIABLES)
@pytest.mark.parametrize('missing', ['rank', 'size'])
def test_a_launcher_without_its_variables_is_refused(launcher, missing, started):
    names = launchers.LAUNCHERS[launcher]
    started(launcher, **{names.rank: '0'})
    variable = getattr(names, missing)
    del os.environ[variable]
    with pytest.raises(UserError, match=rf'--launcher {launcher}: .*\${variable}'):
        check_launcher(launcher, 1)


@pytest.mark.parametrize(
    ('launcher', 'changes', 'gpus', 'said'),
    [
        ('pytorch', dict(RANK='0'), 4, 'torchrun started 2 processes, not 4'),
        ('pytorch', {}, 4, '^$'),  # the first process says it
        ('mpi', dict(OMPI_COMM_WORLD_RANK='0', OMPI_COMM_WORLD_LOCAL_SIZE='1'), 1, 'MASTER_ADDR'),
    ],
)
def test_a_launcher_that_was_started_wrongly_is_refused_once(
    launcher, changes, gpus, said, started
):
    started(launcher, **changes)
    with pytest.raises(UserError, match=said):
        check_launcher(launcher, gpus)


def test_a_batch_script_without_srun_is_refused(started):
    started('slurm', SLURM_PROCID='0')
    del os.environ['SLURM_STEP_ID']
    with pytest.raises(UserError, match='2 tasks, but this is none of them: start it with srun'):
        check_launcher('slurm', 1)


@pytest.mark.parametrize('launcher', ['slurm', 'mpi'])
def test_torch_finds_what_it_needs(launcher, started):
    ports = set()
    for job in ('7', '8'):
        started(launcher, **{launchers.LAUNCHERS[launcher].job: job})
        check_launcher(launcher, 2)
        names = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR')
        assert [os.environ[name] for name in names] == ['1', '1', '2', '127.0.0.1']
        ports.add(os.environ['MASTER_PORT'])
    assert len(ports) == 2
    started(launcher, MASTER_ADDR='10.0.0.1', MASTER_PORT='1234')
    check_launcher(launcher, 1)
    assert (os.environ['MASTER_ADDR'], os.environ['MASTER_PORT']) == ('10.0.0.1', '1234')


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '2')
    monkeypatch.setattr(launchers, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    with pytest.raises(UserError, match='process 2 of this machine has no GPU: there are 2'):
        launchers.join_processes(Config(dict(launcher='pytorch', model=dict())))
    with pytest.raises(UserError, match='--gpus 3: torch finds 2 GPUs'):
        launchers.start_processes(3, 'train', [])


@pytest.mark.parametrize('launcher', VARIABLES)
def test_one_process_of_each_machine_checks_the_data(launcher, started):
    for rank in ('0', '1'):
        started(launcher, **{launchers.LAUNCHERS[launcher].local_rank: rank})
        assert launchers.is_first_on_machine(launcher) == (rank == '0')
        assert launchers.is_first_on_machine('none')


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


def environment(**changes):
    """Return the variables of a process, without those that a training in this one has set."""
    paths = f'{Path(__file__).parent}{os.pathsep}{ROOT}'
    kept = {key: value for key, value in os.environ.items() if key not in VARIABLES['pytorch']}
    return kept | dict(OMP_NUM_THREADS='1', PYTHONPATH=paths, PYTHON=sys.executable) | changes


def arguments(folder, demo_root, launcher, hooks=(), *options):
    """Return the arguments of a short training in its own process group."""
    config = folder.with_suffix('.py')
    config.write_text(CONFIG.format(hooks=[*hooks]))
    common = ['--data-root', demo_root, '--work-dir', folder, '--seed', 3, '--launcher', launcher]
    settings = [
        f'train_cfg.max_iters={STEPS}',
        f'train_cfg.val_begin={STEPS + 1}',
        f'default_hooks.checkpoint.interval={SAVING}',
        'default_hooks.logger.interval=1',
        'train_dataloader.batch_size=2',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
    ]
    return ['train', *map(str, [config, *common, '--resume', '--cfg-options', *settings, *options])]


def start(launcher, folder, *more):
    """Return the command that starts two processes of ``glmix``."""
    glmix = [sys.executable, '-m', 'glmix_mm']
    if launcher == 'mpi':
        return ['mpirun', '--allow-run-as-root', '--oversubscribe', '-np', '2', *more, *glmix]
    if launcher == 'slurm':
        return [
            CLUSTER,
            folder.with_suffix('.slurm'),
            '300',
            'srun',
            '-N',
            '2',
            '-n',
            '2',
            *more,
            *glmix,
        ]
    run = [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', '2']
    return [*run, '--master-port', free_port(), *more, '-m', 'glmix_mm']


def call(command, **changes):
    environ = environment(**changes)
    return subprocess.run(
        command, env=environ, capture_output=True, text=True, cwd=ROOT, timeout=400
    )


def last_state(folder):
    checkpoint = read_checkpoint(folder / f'iter_{STEPS}.pth')
    return {key: checkpoint[key] for key in ('state_dict', 'optimizer', 'param_schedulers')}


@pytest.fixture(scope='module')
def unbroken(demo_root, tmp_path_factory):
    """Return what a training of two processes under torchrun leaves."""
    folder = tmp_path_factory.mktemp('unbroken') / 'run'
    done = call([*start('pytorch', folder), *arguments(folder, demo_root, 'pytorch')])
    assert done.returncode == 0, done.stderr[-3000:]
    return last_state(folder)


@pytest.mark.slow
@two_processes
@pytest.mark.parametrize(
    'launcher', [pytest.param('mpi', marks=needs_mpi), pytest.param('slurm', marks=needs_slurm)]
)
def test_each_launcher_gives_the_weights_of_torchrun(launcher, unbroken, demo_root, tmp_path):
    folder = tmp_path / 'run'
    command = [*start(launcher, folder), *arguments(folder, demo_root, launcher)]
    nodes = dict(MASTER_ADDR='127.0.0.1') if launcher == 'slurm' else {}  # they have no addresses
    done = call(command, **nodes)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'Batch size: 2 x 2 processes = 4' in done.stdout
    assert equal(last_state(folder), unbroken)


@pytest.mark.slow
@two_processes
@pytest.mark.parametrize(
    ('rank', 'saving', 'kept'),
    [(0, False, SAVING), (1, False, SAVING), (0, True, SAVING), (1, True, 2 * SAVING)],
    ids=['first in step', 'second in step', 'first in save', 'second while the first saves'],
)
def test_torchrun_restarts_from_the_last_whole_checkpoint(
    rank, saving, kept, unbroken, demo_root, tmp_path
):
    folder, step = tmp_path / 'run', 2 * SAVING if saving else 2 * SAVING - 1
    hooks = [dict(type='KillOnce', rank=rank, step=step, saving=saving)]
    command = start('pytorch', folder, '--max-restarts', '1')
    done = call([*command, *arguments(folder, demo_root, 'pytorch', hooks)])
    assert done.returncode == 0, done.stderr[-3000:]
    assert f'Nothing to resume in {folder}: training starts' in done.stdout
    assert f'Resuming from {folder}/iter_{kept}.pth' in done.stdout
    assert 'Traceback' not in done.stderr
    assert not list(folder.glob('.iter*'))  # what the killed save had written
    assert equal(last_state(folder), unbroken)


@pytest.mark.slow
@two_processes
def test_a_full_disk_ends_both_processes_and_leaves_the_last_checkpoint(
    unbroken, demo_root, tmp_path
):
    folder = tmp_path / 'run'
    hooks = [dict(type='FillDisk', step=2 * SAVING)]
    glmix = [sys.executable, '-m', 'glmix_mm']
    run = arguments(folder, demo_root, 'none', hooks)
    done = call([*glmix, *run, 'default_hooks.checkpoint.max_keep_ckpts=1', '--gpus', '2'])
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if 'cannot write' in line]
    assert line.startswith(f'error: cannot write {folder}/iter_{2 * SAVING}.pth: File too large (')
    assert f'the last checkpoint, {folder}/iter_{SAVING}.pth, is intact' in line
    assert 'Traceback' not in done.stderr
    assert [path.name for path in folder.glob('*iter_*')] == [f'iter_{SAVING}.pth']
    done = call([*glmix, *arguments(folder, demo_root, 'none'), '--gpus', '2'])  # with room again
    assert done.returncode == 0, done.stderr[-3000:]
    assert equal(last_state(folder), unbroken)


@pytest.mark.slow
@two_processes
@needs_slurm
def test_a_slurm_job_that_is_told_to_stop_goes_on_by_itself(unbroken, demo_root, tmp_path):
    folder, log = tmp_path / 'run', tmp_path / 'job.log'
    sizes = '--ntasks-per-node 2 --gpus-per-node 2 --cpus-per-task 1'
    train = shlex.join(arguments(folder, demo_root, 'slurm')[1:])
    script = f"""
        job=$(sbatch --parsable {sizes} --output {log} tools/train.sbatch {train})
        there() {{ squeue --noheader --job $job | grep -q .; }}
        until grep -q 'Iter(train) .* 1/{STEPS}' {log} || ! there; do sleep 0.2; done
        scancel --signal TERM $job
        while there; do sleep 0.5; done
        scontrol show job $job
    """
    done = call([CLUSTER, tmp_path / 'slurm', '300', 'bash', '-c', script])
    said = log.read_text() if log.exists() else 'no log of the job'
    assert 'JobState=COMPLETED' in done.stdout, done.stdout + done.stderr + said[-3000:]
    assert 'Restarts=1' in done.stdout
    assert 'stopped by SIGTERM after step 10' in said
    assert f'Resuming from {folder}/interrupted.pth' in said
    assert equal(last_state(folder), unbroken)


@pytest.mark.slow
@two_processes
@pytest.mark.parametrize(
    ('different', 'said'),
    [
        (('--data-root', 'nowhere'), 'nowhere'),
        (('train_dataloader.batch_size=3',), 'train_dataloader.batch_size is 3'),
    ],
    ids=['data', 'config'],
)
def test_two_machines_that_do_not_agree_end_with_one_line(different, said, demo_root, tmp_path):
    common = arguments(tmp_path / 'run', demo_root, 'pytorch')
    port, began, processes = free_port(), time.monotonic(), []
    for rank in ('0', '1'):
        own = dict(RANK=rank, LOCAL_RANK='0', WORLD_SIZE='2', MASTER_PORT=port)
        command = [sys.executable, '-m', 'glmix_mm', *common, *(different if rank == '1' else ())]
        environ = environment(MASTER_ADDR='127.0.0.1', **own)
        processes.append(
            subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        )
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [1, 1]
    assert time.monotonic() - began < 60
    (line,) = [line for line in ''.join(errors).splitlines() if line.startswith('error')]
    assert said in line
    assert 'Traceback' not in ''.join(errors)
    assert not (tmp_path / 'run').exists()
