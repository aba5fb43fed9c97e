"""Sharded training with mmengine: FSDP for models with scalar parameters, and resumed."""

from collections.abc import Mapping

from mmengine._strategy import FSDPStrategy
from mmengine.config import Config
from mmengine.dist import all_reduce
from mmengine.model.wrappers import MMFullyShardedDataParallel
from mmengine.registry import MODEL_WRAPPERS, STRATEGIES
from torch import Tensor, nn

from ..config.strategy_edits import uses_fsdp
from ..errors import UserError


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


@STRATEGIES.register_module()
class ResumableFSDPStrategy(FSDPStrategy):
    """mmengine's ``FSDPStrategy``, which can't resume: it names arguments in torch 2.0's order."""

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the optimizer's state, each process its shard."""
        optimizer = self.optim_wrapper.optimizer
        state = self.model.optim_state_dict_to_load(
            model=self.model, optim=optimizer, optim_state_dict=state_dict
        )
        self.optim_wrapper.load_state_dict(state)


def check_same_strategy(cfg: Config, checkpoint: Mapping, path: str) -> None:
    """Check that the optimizer's state was saved as the config's strategy loads it.

    Raises:
        UserError: it was not.
    """
    groups = checkpoint['optimizer'].get('param_groups') or [dict(params=[])]
    by_name = any(isinstance(key, str) for group in groups for key in group['params'])
    sharded = uses_fsdp(cfg)
    if groups[0]['params'] and by_name != sharded:
        saved = 'with' if by_name else 'without'
        raise UserError(
            f'{path} was saved {saved} FSDPStrategy, so its optimizer can only be resumed {saved} '
            f'it; to start from its weights: --cfg-options load_from={path}'
        )
