"""Starts the processes of a run, and lets them begin and end together."""

import logging
import os
import platform
import subprocess
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import all_gather_object, broadcast_object_list, init_dist
from mmengine.utils.dl_utils import set_multi_processing
from torch import distributed

from ..errors import UserError
from ..utils.commands import python_arguments
from .resumed_config import differences, short


class Launcher(NamedTuple):
    """What starts the processes, and the variables in which it tells each about itself.

    Attributes:
        start: the command.
        rank: among all processes.
        local_rank: among those of the machine.
        size: how many processes there are.
        job: what sets the run apart from others on the machine.
    """

    start: str
    rank: str
    local_rank: str
    size: str
    job: str = ''


LAUNCHERS = dict(
    pytorch=Launcher('torchrun', 'RANK', 'LOCAL_RANK', 'WORLD_SIZE'),
    slurm=Launcher('srun', 'SLURM_PROCID', 'SLURM_LOCALID', 'SLURM_NTASKS', 'SLURM_JOB_ID'),
    mpi=Launcher(
        'mpirun',
        'OMPI_COMM_WORLD_RANK',
        'OMPI_COMM_WORLD_LOCAL_RANK',
        'OMPI_COMM_WORLD_SIZE',
        'PMIX_NAMESPACE',
    ),
)


def start_processes(number: int, command: str, argv: Sequence[str]) -> int:
    """Run a command again in several processes of this machine, by torch's own launcher.

    Args:
        number: of processes, one per GPU; where there are no GPUs, they run on the CPU.
        command: its name.
        argv: its arguments.

    Returns:
        The exit status of the process that failed first, 0 if none did.

    Raises:
        UserError: there are fewer GPUs.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    found = torch.cuda.device_count()
    if 0 < found < number:
        raise UserError(f'--gpus {number}: torch finds {found} GPUs; give at most that many')
    again = [*python_arguments(command), *argv, '--launcher', 'pytorch']
    local = ['--standalone', '--local-addr', '127.0.0.1', '--nproc-per-node', str(number)]
    logging.disable(logging.ERROR)  # its own report of a failure, after what the process said
    try:
        run(parse_args([*local, *again]))
    except SignalException as stop:
        return 128 + stop.sigval
    except ChildFailedError as failed:
        status = failed.get_first_failure()[1].exitcode
        return status if status > 0 else 128 - status
    finally:
        logging.disable(logging.NOTSET)
    return 0


def check_launcher(name: str, gpus: int) -> None:
    """Check that a launcher started this process, and set the variables that torch reads.

    All processes of a run see the same mistake: the first one says it.

    Args:
        name: the launcher; 'none' for a process on its own.
        gpus: of ``--gpus``, 1 where it is not given.

    Raises:
        UserError: another launcher started it, or another number of processes.
    """
    if name == 'none':
        return
    launcher, wrong = LAUNCHERS[name], ''
    missing = [key for key in (launcher.rank, launcher.size) if key not in os.environ]
    size = os.environ.get(launcher.size, '')
    if missing:
        wrong = (
            f'${missing[0]} is not set, so this process was not started by {launcher.start}; on '
            'one machine, give --gpus N in place of --launcher'
        )
    elif name == 'slurm' and size != '1' and 'SLURM_STEP_ID' not in os.environ:
        wrong = f'the job has {size} tasks, but this is none of them: start it with srun'
    elif gpus not in (1, int(size)):
        wrong = f'{launcher.start} started {size} processes, not {gpus} as --gpus says'
    elif (
        os.environ.get('OMPI_COMM_WORLD_LOCAL_SIZE', size) != size
        and 'MASTER_ADDR' not in os.environ
    ):
        wrong = 'on several machines, mpirun needs -x MASTER_ADDR=ADDRESS_OF_THE_FIRST'
    if wrong:
        first = all(os.environ.get(other.rank, '0') == '0' for other in LAUNCHERS.values())
        raise UserError(f'--launcher {name}: {wrong}' if first else '')
    if name != 'pytorch':
        _set_variables(launcher, size)


def _set_variables(launcher: Launcher, size: str) -> None:
    """Set what torchrun would set; an address and a port that the user has set are kept."""
    os.environ['RANK'] = os.environ[launcher.rank]
    os.environ['LOCAL_RANK'] = os.environ[launcher.local_rank]
    os.environ['WORLD_SIZE'] = size
    address = '127.0.0.1'
    if os.environ.get('SLURM_STEP_NUM_NODES', '1') != '1':
        nodes = ['scontrol', 'show', 'hostname', os.environ['SLURM_STEP_NODELIST']]
        address = subprocess.run(nodes, capture_output=True, text=True).stdout.split()[0]
    os.environ.setdefault('MASTER_ADDR', address)
    job = os.environ.get(launcher.job, '') + os.environ.get('SLURM_STEP_ID', '')
    # Two runs on one machine must not share a port; those above 32767 are given to anyone.
    os.environ.setdefault('MASTER_PORT', str(20000 + zlib.crc32(job.encode()) % 10000))


def join_processes(cfg: Config) -> None:
    """Join the other processes: as mmengine does with GPUs, over gloo where there are none.

    Raises:
        UserError: this process has no GPU of its own.
    """
    if cfg.launcher == 'none' or distributed.is_initialized():
        return
    settings = cfg.get('env_cfg', {})
    if get_device() == 'cpu':
        timeout = settings.get('dist_cfg', {}).get('timeout')
        limit = timedelta(seconds=timeout) if timeout else None
        distributed.init_process_group('gloo', timeout=limit, **_store())
        return
    rank, count = int(os.environ.get('LOCAL_RANK', 0)), torch.cuda.device_count()
    if get_device() == 'cuda' and rank >= count:
        raise UserError(
            f'process {rank} of this machine has no GPU: there are {count}; start at most {count}'
        )
    set_multi_processing(**settings.get('mp_cfg', {}), distributed=True)  # else init_dist does
    own = _store() if get_device() == 'cuda' else {}
    init_dist(cfg.launcher, **settings.get('dist_cfg', {}), **own)


def _store() -> dict:
    """Return where the processes find each other, apart from an attempt before a restart.

    With a fixed port, torchrun keeps what the processes that it restarts had written.
    """
    store, rank, size = next(distributed.rendezvous('env://'))
    attempt = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
    return dict(store=distributed.PrefixStore(attempt, store), rank=rank, world_size=size)


@contextmanager
def together() -> Iterator[None]:
    """Let all processes of a run end, with one message, if one of them cannot start.

    Raises:
        UserError: in all processes if it was raised in one; it has the message in the first such.
    """
    found = None
    try:
        yield
    except UserError as error:
        found = error
    if not distributed.is_initialized():
        if found:
            raise found
        return
    texts = all_gather_object(str(found or ''))
    if not any(texts):
        return
    first = next(rank for rank, text in enumerate(texts) if text)
    if distributed.get_rank() != first:
        raise UserError('') from found
    if all(texts):
        raise found
    raise UserError(f'{found} (process {first} of {len(texts)}, on {platform.node()})')


@contextmanager
def told_to_others(launcher: str) -> Iterator[None]:
    """Let a process that cannot read its config tell the others, which wait for it to join.

    Raises:
        UserError: this process raised it, or another one first.
    """
    try:
        yield
    except UserError:
        join_processes(Config(dict(launcher=launcher)))
        with together():
            raise


def check_same_config(cfg: Config) -> None:
    """Check that all processes were started with the same config.

    Raises:
        UserError: this process's differs from the first one's.
    """
    if not distributed.is_initialized():
        return
    first = [cfg.to_dict()]
    broadcast_object_list(first)
    other = [
        f'{name.removeprefix("cfg.")} is {short(here)}, in process 0 {short(there)}'
        for name, there, here in differences('cfg', first[0], cfg.to_dict())
    ]
    if other:
        raise UserError(
            f'the config differs between the processes: {"; ".join(other[:5])}; start all with '
            'the same command and the same files'
        )


def is_first_on_machine(launcher: str) -> bool:
    """Return whether this process is to do what one process of each machine has to."""
    return launcher == 'none' or os.environ.get(LAUNCHERS[launcher].local_rank, '0') == '0'


def is_first(launcher: str) -> bool:
    """Return whether this process is the first of all."""
    return launcher == 'none' or os.environ.get(LAUNCHERS[launcher].rank, '0') == '0'
