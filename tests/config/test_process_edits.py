"""What training in several processes changes in a config, and what it does not take."""

import pytest
from mmengine.config import Config

from glmix_mm.config.process_edits import fit_cpu, refuse_strategy
from glmix_mm.config.test_edits import score
from glmix_mm.errors import UserError

SHARDED = dict(runner_type='FlexibleRunner', strategy=dict(type='FSDPStrategy'))


def test_a_strategy_is_refused_for_training_and_left_out_for_a_test():
    cfg = Config(dict(SHARDED))
    with pytest.raises(UserError, match='strategy FSDPStrategy'):
        refuse_strategy(cfg)
    score(cfg, 'any.pth', quiet=False)
    refuse_strategy(cfg)
    assert (cfg.runner_type, cfg.get('strategy')) == ('Runner', None)


def test_a_cpu_gets_ddp():
    cfg = Config(dict(model=dict()))
    fit_cpu(cfg)
    assert cfg.model_wrapper_cfg.type == 'MMDistributedDataParallel'
    assert cfg.model_wrapper_cfg.device_ids is None
    assert cfg.model_wrapper_cfg.find_unused_parameters is False
