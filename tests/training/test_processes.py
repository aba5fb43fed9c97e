"""Two processes train as one: with DDP, and sharded with FSDP (see processes_proof.py)."""

import pytest
import torch
from processes_proof import CONFIG, call, largest_difference, options, read_losses
from runs import test

from glmix_mm.checkpoints.safe_reading import read_checkpoint
from glmix_mm.cli import run
from glmix_mm.training.train import main

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        torch.cuda.device_count() == 1, reason='two processes need two GPUs or none'
    ),
]
SHARDED = 4  # steps with FSDP
SAVING = f'default_hooks.checkpoint.interval={SHARDED}'


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """Return the path of Semantic FPN's config under which losses do not depend on processes."""
    path = tmp_path_factory.mktemp('configs') / 'semfpn.py'
    path.write_text(CONFIG.format(task='semfpn', start=None))
    return path


def arguments(config, demo_root, folder, processes):
    common = [config, '--data-root', demo_root, '--work-dir', folder, '--seed', 3]
    return [*map(str, common), *options('semfpn', processes, demo_root), SAVING]


@pytest.fixture(scope='module')
def alone(config, demo_root, tmp_path_factory):
    """Return the folder of a training in one process."""
    folder = tmp_path_factory.mktemp('alone')
    assert run(main, arguments(config, demo_root, folder, 1)) == 0
    return folder


def test_two_processes_have_the_losses_of_one(config, demo_root, alone, tmp_path):
    call('train', 2, *arguments(config, demo_root, tmp_path, 2))
    assert largest_difference(read_losses(alone), read_losses(tmp_path)) < 1e-4


def test_fsdp_has_the_losses_of_one_process_and_its_checkpoint(
    config, demo_root, alone, tmp_path, capsys
):
    sharded = tmp_path / 'sharded.py'
    sharded.write_text(
        config.read_text().replace(
            "_base_ = 'glmix_mm::demo/semfpn_glnet_nano.py'",
            "_base_ = ['glmix_mm::demo/semfpn_glnet_nano.py', "
            "'glmix_mm::_base_/strategies/fsdp.py']",
        )
    )
    folder = tmp_path / 'work_dir'
    short = f'train_cfg.max_iters={SHARDED}'
    call('train', 2, *arguments(sharded, demo_root, folder, 2), short)
    whole, expected = (read_checkpoint(place / f'iter_{SHARDED}.pth') for place in (folder, alone))
    assert whole['state_dict'].keys() == expected['state_dict'].keys()
    for key, value in expected['state_dict'].items():
        torch.testing.assert_close(whole['state_dict'][key], value, rtol=1e-4, atol=1e-6)
    # The optimizer's state is under the parameters' names there, under numbers here.
    momenta = [expected['optimizer']['state'][n] for n in sorted(expected['optimizer']['state'])]
    names = [key for key in expected['state_dict'] if key in whole['optimizer']['state']]
    assert len(names) == len(momenta)
    for key, momentum in zip(names, momenta, strict=True):
        torch.testing.assert_close(whole['optimizer']['state'][key], momentum, rtol=1e-3, atol=1e-5)
    assert test(str(sharded), str(folder / f'iter_{SHARDED}.pth'), demo_root, tmp_path / 'wd') == 0
    # One process can't take the optimizer's state from it.
    again = [str(config), '--data-root', str(demo_root), '--work-dir', str(folder), '--resume']
    assert run(main, again) == 1
    assert 'was saved with FSDPStrategy' in capsys.readouterr().err
