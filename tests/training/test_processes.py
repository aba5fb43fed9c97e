"""Two processes train as one (see processes_proof.py)."""

import pytest
import torch
from processes_proof import CONFIG, call, largest_difference, options, read_losses

from glmix_mm.cli import run
from glmix_mm.training.train import main

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        torch.cuda.device_count() == 1, reason='two processes need two GPUs or none'
    ),
]


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """Return the path of Semantic FPN's config under which losses do not depend on processes."""
    path = tmp_path_factory.mktemp('configs') / 'semfpn.py'
    path.write_text(CONFIG.format(task='semfpn', start=None))
    return path


def arguments(config, demo_root, folder, processes):
    common = [config, '--data-root', demo_root, '--work-dir', folder, '--seed', 3]
    return [*map(str, common), *options('semfpn', processes, demo_root)]


@pytest.fixture(scope='module')
def alone(config, demo_root, tmp_path_factory):
    """Return the folder of a training in one process."""
    folder = tmp_path_factory.mktemp('alone')
    assert run(main, arguments(config, demo_root, folder, 1)) == 0
    return folder


def test_two_processes_have_the_losses_of_one(config, demo_root, alone, tmp_path):
    call('train', 2, *arguments(config, demo_root, tmp_path, 2))
    assert largest_difference(read_losses(alone), read_losses(tmp_path)) < 1e-4
