"""What becomes of a config with one of mmengine's strategies for sharded training."""

import pytest
from mmengine.config import Config

from glmix_mm.config import strategy_edits
from glmix_mm.config.load_config import load_config
from glmix_mm.config.strategy_edits import fit_cpu, fit_strategy
from glmix_mm.config.test_edits import score
from glmix_mm.errors import UserError
from glmix_mm.training.sharding import check_same_strategy

pytestmark = pytest.mark.slow

RECIPES = ('maskrcnn_glnet_16g_3x', 'upernet_dilateformer_base_160k', 'glnet_16g')


def load(tmp_path, strategy, recipe='maskrcnn_glnet_16g_3x', **changes):
    """Return a recipe with a strategy beside it, as docs/scale.md says to write it."""
    path = tmp_path / f'{strategy}.py'
    path.write_text(
        f"_base_ = ['glmix_mm::{recipe}.py', 'glmix_mm::_base_/strategies/{strategy}.py']"
    )
    return load_config(str(path), dict(changes, launcher='pytorch'))


@pytest.fixture(autouse=True)
def all_installed(monkeypatch):
    monkeypatch.setattr(strategy_edits, 'find_spec', lambda name: name)


@pytest.mark.parametrize('strategy', ['fsdp', 'deepspeed'])
@pytest.mark.parametrize('recipe', RECIPES)
def test_any_recipe_takes_any_strategy(tmp_path, strategy, recipe):
    cfg = load(tmp_path, strategy, recipe)
    assert cfg.runner_type == 'FlexibleRunner'
    score(cfg, 'any.pth', quiet=False)
    assert (cfg.runner_type, cfg.get('strategy')) == ('Runner', None)


def test_fsdp_keeps_the_optimizer_wrapper(tmp_path):
    cfg = load(tmp_path, 'fsdp', 'maskrcnn_glnet_16g_3x')
    before = cfg.optim_wrapper.to_dict()
    fit_strategy(cfg, cfg.launcher != 'none')
    assert cfg.optim_wrapper.to_dict() == before
    assert cfg.strategy.type == 'ResumableFSDPStrategy'
    assert cfg.strategy.model_wrapper.type == 'ShardedModel'
    assert 'glmix_mm.training.sharding' in cfg.custom_imports.imports
    fit_cpu(cfg)
    assert cfg.strategy.model_wrapper.device_id == 'cpu'
    assert cfg.strategy.state_dict_cfg.optim_state_dict_config.offload_to_cpu is False
    assert 'model_wrapper_cfg' not in cfg


@pytest.mark.parametrize(
    ('recipe', 'changes', 'reason'),
    [
        ('glnet_16g', {}, 'flat_decay_mult'),
        ('demo/semfpn_glnet_nano', {}, 'clip the gradients of each process'),
        ('maskrcnn_glnet_16g_3x', {'optim_wrapper.dtype': 'float16'}, 'in float16'),
        ('maskrcnn_glnet_16g_3x', {'custom_hooks': [dict(type='EMAHook')]}, 'EMAHook'),
        ('maskrcnn_glnet_16g_3x', {'launcher': 'none'}, '--gpus N'),
    ],
)
def test_what_fsdp_would_do_wrong_is_refused(tmp_path, recipe, changes, reason):
    cfg = load(tmp_path, 'fsdp', recipe)
    cfg.merge_from_dict(changes)
    with pytest.raises(UserError, match=reason):
        fit_strategy(cfg, cfg.launcher != 'none')


def test_deepspeed_takes_over_clipping_and_accumulation(tmp_path):
    cfg = load(tmp_path, 'deepspeed', 'glnet_16g')
    cfg.optim_wrapper.accumulative_counts = 4
    paramwise = cfg.optim_wrapper.paramwise_cfg.to_dict()
    fit_strategy(cfg, cfg.launcher != 'none')
    assert cfg.strategy.gradient_clipping == 5.0
    assert cfg.strategy.gradient_accumulation_steps == 4
    assert cfg.optim_wrapper.type == 'DeepSpeedOptimWrapper'
    assert set(cfg.optim_wrapper) == {'type', 'optimizer', 'paramwise_cfg'}
    assert cfg.optim_wrapper.paramwise_cfg.to_dict() == paramwise


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    cfg = load(tmp_path, 'deepspeed')
    monkeypatch.setattr(strategy_edits, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match='needs the package deepspeed'):
        fit_strategy(cfg, cfg.launcher != 'none')


def test_without_a_strategy_a_cpu_gets_ddp():
    cfg = Config(dict(model=dict()))
    fit_cpu(cfg)
    assert cfg.model_wrapper_cfg.type == 'MMDistributedDataParallel'
    assert cfg.model_wrapper_cfg.device_ids is None
    assert cfg.model_wrapper_cfg.find_unused_parameters is False


@pytest.mark.parametrize('saved', [True, False], ids=['sharded', 'whole'])
@pytest.mark.parametrize('resumed', [True, False], ids=['sharded', 'whole'])
def test_only_the_same_kind_of_optimizer_state_is_resumed(saved, resumed):
    cfg = Config(dict(strategy=dict(type='FSDPStrategy') if resumed else None))
    groups = [dict(params=['a.weight'] if saved else [0])]
    checkpoint = dict(optimizer=dict(state={}, param_groups=groups))
    if saved == resumed:
        check_same_strategy(cfg, checkpoint, 'a.pth')
        return
    with pytest.raises(UserError, match=f'saved {"with" if saved else "without"} FSDPStrategy'):
        check_same_strategy(cfg, checkpoint, 'a.pth')
