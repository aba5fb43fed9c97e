"""What training in several processes changes in a config, and what it does not take."""

from mmengine.config import Config

from ..errors import UserError
from ..utils.nested import nested_dicts


def refuse_strategy(cfg: Config) -> None:
    """Refuse mmengine's strategies for sharding, which take another runner.

    Raises:
        UserError: the config names one.
    """
    name = (cfg.get('strategy') or {}).get('type')
    if name or cfg.get('runner_type', 'Runner') == 'FlexibleRunner':
        raise UserError(
            f"{cfg.filename}: strategy {name} needs mmengine's FlexibleRunner, which glmix "
            'does not train with (docs/scale.md says why); take strategy and runner_type out of it'
        )


def fit_cpu(cfg: Config) -> None:
    """Let DDP wrap the model of a process without a GPU: mmengine would hand it this one's."""
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
