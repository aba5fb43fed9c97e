"""What training over several processes changes in a config: sharding, and processes on CPUs."""

from importlib.util import find_spec

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log

from ..errors import UserError
from ..utils.devices import best_dtype
from ..utils.nested import nested_dicts
from .edits import require

# As mmengine's 'full', but nothing is moved to the CPU. PyTorch gathers the optimizer's states one
# after the other in the same buffer, and moving it does not copy what is there already: the saved
# momentum would be the squared gradients.
FULL_ON_CPU = dict(
    state_dict_type='FULL_STATE_DICT',
    state_dict_config=dict(type='FullStateDictConfig', rank0_only=True),
    optim_state_dict_config=dict(
        type='FullOptimStateDictConfig', rank0_only=True, offload_to_cpu=False
    ),
)
PACKAGES = dict(DeepSpeedStrategy='deepspeed')


def fit_strategy(cfg: Config, several: bool) -> None:
    """Change the optimizer wrapper to what the config's ``strategy`` takes.

    Args:
        cfg: the config.
        several: whether several processes train.

    Raises:
        UserError: the strategy can't do what the config asks for, or its package is not installed.
    """
    name = (cfg.get('strategy') or {}).get('type')
    if name is None:
        return
    if not several:
        raise UserError(f'strategy {name} shards over several processes; start them with --gpus N')
    package = PACKAGES.get(name)
    if package and find_spec(package) is None:
        raise UserError(f'strategy {name} needs the package {package}; install it with pip')
    if name in FITS:
        FITS[name](cfg)
    if cfg.get('sync_bn'):
        print_log(f'Batch norms of the backbone are not synchronised: {name}.', logger='current')


def uses_fsdp(cfg: Config) -> bool:
    """Tell whether a config shards by FSDP, as its file has it or as a run has it."""
    name = (cfg.get('strategy') or {}).get('type')
    return name in ('FSDPStrategy', 'ResumableFSDPStrategy')


def fit_cpu(cfg: Config) -> None:
    """Let the strategy, or mmengine's own choice, wrap the model for a process without a GPU."""
    if uses_fsdp(cfg):
        cfg.strategy.model_wrapper.device_id = 'cpu'
        if cfg.strategy.get('state_dict_cfg') == 'full':
            cfg.strategy.state_dict_cfg = FULL_ON_CPU
        return
    # mmengine would hand DDP this process's GPU.
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )


def leave_out_synced_norms(cfg: Config) -> bool:
    """Make batch norms plain ones, which CPUs have; return whether any was synchronised."""
    synced = [norm for norm in nested_dicts(cfg.model) if norm.get('type') == 'SyncBN']
    for norm in synced:
        norm['type'] = 'BN'
    return bool(cfg.pop('sync_bn', None) or synced)


def _fit_fsdp(cfg: Config) -> None:
    require(cfg, 'glmix_mm.training.sharding')
    cfg.strategy.type = 'ResumableFSDPStrategy'
    model_wrapper = cfg.strategy.get('model_wrapper') or dict(type='MMFullyShardedDataParallel')
    if model_wrapper['type'] == 'MMFullyShardedDataParallel':
        cfg.strategy.model_wrapper = dict(model_wrapper, type='ShardedModel')
    wrapper = cfg.optim_wrapper
    if 'flat_decay_mult' in (wrapper.get('paramwise_cfg') or {}):
        raise UserError(
            f'{cfg.filename}: under FSDPStrategy every parameter is flat to mmengine, so '
            'paramwise_cfg.flat_decay_mult would be for all; train without the strategy'
        )
    if wrapper.get('clip_grad'):
        raise UserError(
            f'{cfg.filename}: under FSDPStrategy mmengine would clip the gradients of each process '
            'by their own norm; set optim_wrapper.clip_grad=None, or train without the strategy'
        )
    low = wrapper.get('type') == 'AutoAmpOptimWrapper'
    best = str(best_dtype(get_device())).removeprefix('torch.')
    if low and wrapper.get('dtype', best) == 'float16':
        raise UserError(
            f'{cfg.filename}: FSDPStrategy would scale the loss in each process on its own in '
            'float16; set optim_wrapper.dtype=float32'
        )
    if cfg.get('custom_hooks') and any('EMAHook' in str(h['type']) for h in cfg.custom_hooks):
        raise UserError(
            f'{cfg.filename}: EMAHook would average the shards under FSDPStrategy; train without'
        )


def _fit_deepspeed(cfg: Config) -> None:
    old = cfg.optim_wrapper
    kept = {key: old[key] for key in ('optimizer', 'paramwise_cfg', 'constructor') if key in old}
    cfg.optim_wrapper = dict(type='DeepSpeedOptimWrapper', **kept)
    if old.get('clip_grad'):
        cfg.strategy.gradient_clipping = old.clip_grad.max_norm
    cfg.strategy.gradient_accumulation_steps = old.get('accumulative_counts', 1)


FITS = dict(
    FSDPStrategy=_fit_fsdp, ResumableFSDPStrategy=_fit_fsdp, DeepSpeedStrategy=_fit_deepspeed
)
