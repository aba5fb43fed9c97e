"""Stops a training run whose losses or weights are not finite any more."""

import math
from collections.abc import Mapping
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from ..checkpoints.compare_states import is_finite
from ..errors import UserError
from .checkpoint_hook import saved_checkpoints

ADVICE = (
    'check the learning rate, its warmup and clip_grad, and the data of this step; continue from '
    'the last checkpoint with --resume'
)


@HOOKS.register_module()
class FiniteHook(Hook):
    """Ends the run at the first loss that is not finite, before anything is saved.

    Every step is checked: mmengine reads the losses for its log at every step anyway. Since a
    step may spoil the weights after its losses were still sound, the weights are checked before
    each save as well.
    """

    priority = 'HIGH'  # before the hooks that log, average and save

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs: Mapping | None = None
    ) -> None:
        """Check the losses of a step.

        Raises:
            UserError: one of them is not finite; the message names the step and the losses.
        """
        losses = {name: _number(value) for name, value in (outputs or {}).items()}
        wrong = [name for name, value in losses.items() if not math.isfinite(value)]
        if not wrong:
            return
        parts = [name for name in wrong if name != 'loss'] or wrong  # 'loss' is the sum
        named = ', '.join(f'{name} is {losses[name]}' for name in parts)
        raise UserError(
            f'step {runner.iter + 1} (epoch {runner.epoch + 1}): {named}; training stops and '
            f'saves nothing; {_kept(runner)}; {ADVICE}'
        )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the weights that are about to be saved.

        Raises:
            UserError: some are not finite.
        """
        state = checkpoint.get('state_dict') or {}
        wrong = [key for key, value in state.items() if not is_finite(value)]
        if wrong:
            raise UserError(
                f'step {runner.iter}: {len(wrong)} of the {len(state)} tensors to be saved are not '
                f'finite, the first is {wrong[0]}; training stops and saves nothing; '
                f'{_kept(runner)}; {ADVICE}'
            )


def _number(value: object) -> float:
    """Return a logged value; 0 for one that is no single number."""
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else 0.0
    return value if isinstance(value, float) else 0.0


def _kept(runner: Runner) -> str:
    kept = saved_checkpoints(Path(runner.work_dir))
    return f'the last checkpoint, {kept[0]}, is intact' if kept else 'there is no checkpoint yet'
