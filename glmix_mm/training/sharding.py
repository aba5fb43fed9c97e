"""Fits a config to the strategy that it names: mmengine's for sharded training.

mmengine does not let two bases of a config set the same entry, so a base that names a strategy
cannot set the optimizer wrapper, which each of them wants another of.
"""

from collections.abc import Mapping
from importlib.util import find_spec

from mmengine._strategy import FSDPStrategy
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import all_reduce
from mmengine.logging import print_log
from mmengine.model.wrappers import MMFullyShardedDataParallel
from mmengine.registry import MODEL_WRAPPERS, STRATEGIES
from torch import Tensor, nn

from ..config.plan import require
from ..errors import UserError
from .amp import best_dtype

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


@MODEL_WRAPPERS.register_module()
class ShardedModel(MMFullyShardedDataParallel):
    """mmengine's FSDP wrapper, for models with scalar parameters as well, such as GLMix's scale.

    FSDP does not take these: each process keeps them, and their gradients are averaged.
    """

    def __init__(self, module: nn.Module, **kwargs):
        scalars = [parameter for parameter in module.parameters() if not parameter.dim()]
        super().__init__(module, ignored_states=scalars, **kwargs)
        for scalar in scalars:
            scalar.register_post_accumulate_grad_hook(_average_gradient)


def _average_gradient(parameter: Tensor) -> None:
    # What was accumulated before is the same in all processes: the mean leaves it as it is.
    all_reduce(parameter.grad, 'mean')


@STRATEGIES.register_module(name='FSDPStrategy', force=True)
class ResumableFSDPStrategy(FSDPStrategy):
    """mmengine's ``FSDPStrategy``, which can't resume: it names arguments in torch 2.0's order."""

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the optimizer's state, each process its shard."""
        optimizer = self.optim_wrapper.optimizer
        state = self.model.optim_state_dict_to_load(
            model=self.model, optim=optimizer, optim_state_dict=state_dict
        )
        self.optim_wrapper.load_state_dict(state)


def fit_strategy(cfg: Config) -> None:
    """Change the optimizer wrapper to what the config's ``strategy`` takes.

    Raises:
        UserError: the strategy can't do what the config asks for, or its package is not installed.
    """
    name = (cfg.get('strategy') or {}).get('type')
    if name is None:
        return
    if cfg.launcher == 'none':
        raise UserError(f'strategy {name} shards over several processes; start them with --gpus N')
    package = PACKAGES.get(name)
    if package and find_spec(package) is None:
        raise UserError(f'strategy {name} needs the package {package}; install it with pip')
    if name in FITS:
        FITS[name](cfg)
    if cfg.get('sync_bn'):
        print_log(f'Batch norms of the backbone are not synchronised: {name}.', logger='current')


def fit_cpu(cfg: Config) -> None:
    """Let the strategy, or mmengine's own choice, wrap the model for a process without a GPU."""
    if (cfg.get('strategy') or {}).get('type') == 'FSDPStrategy':
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


def leave_out_strategy(cfg: Config) -> None:
    """Test without sharding: the checkpoints are whole."""
    if cfg.pop('strategy', None):
        cfg.runner_type = 'Runner'


def check_same_strategy(cfg: Config, checkpoint: Mapping, path: str) -> None:
    """Check that the optimizer's state was saved as the config's strategy loads it.

    Raises:
        UserError: it was not.
    """
    groups = checkpoint['optimizer'].get('param_groups') or [dict(params=[])]
    by_name = any(isinstance(key, str) for group in groups for key in group['params'])
    sharded = (cfg.get('strategy') or {}).get('type') == 'FSDPStrategy'
    if groups[0]['params'] and by_name != sharded:
        saved = 'with' if by_name else 'without'
        raise UserError(
            f'{path} was saved {saved} FSDPStrategy, so its optimizer can only be resumed {saved} '
            f'it; to start from its weights: --cfg-options load_from={path}'
        )


def _fit_fsdp(cfg: Config) -> None:
    model_wrapper = cfg.strategy.get('model_wrapper') or dict(type='MMFullyShardedDataParallel')
    if model_wrapper['type'] == 'MMFullyShardedDataParallel':
        cfg.strategy.model_wrapper = dict(model_wrapper, type='ShardedModel')
        require(cfg, 'glmix_mm.training.sharding')
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


FITS = dict(FSDPStrategy=_fit_fsdp, DeepSpeedStrategy=_fit_deepspeed)
