"""Mixed precision that suits the device: bfloat16 where it can, float16 where it must."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from ..errors import UserError
from ..utils.devices import best_dtype

DTYPES = ('bfloat16', 'float16', 'float32')


@OPTIM_WRAPPERS.register_module()
class AutoAmpOptimWrapper(AmpOptimWrapper):
    """mmengine's ``AmpOptimWrapper`` for any device.

    Weights, gradients and the optimizer's state stay in float32. The loss is scaled in float16
    only, whose smallest numbers are too large for many gradients.

    Args:
        dtype: 'bfloat16', 'float16' or 'float32'; by default the best one of the device
            (:func:`best_dtype`), which on a CPU is float32.
        loss_scale: 'dynamic', a constant, or a dict of ``torch.amp.GradScaler``'s options.
        **kwargs: as in :class:`mmengine.optim.OptimWrapper`.

    Raises:
        UserError: an unknown ``dtype`` or ``loss_scale``.
    """

    def __init__(
        self, dtype: str | None = None, loss_scale: str | float | dict = 'dynamic', **kwargs
    ):
        if dtype is not None and dtype not in DTYPES:
            raise UserError(f'optim_wrapper: dtype={dtype!r} is none of {", ".join(DTYPES)}')
        # Not AmpOptimWrapper's own constructor: that one insists on a GPU.
        OptimWrapper.__init__(self, **kwargs)
        self.device = get_device()
        self.cast_dtype = best_dtype(self.device) if dtype is None else getattr(torch, dtype)
        self.loss_scaler = torch.amp.GradScaler(
            self.device, enabled=self.cast_dtype == torch.float16, **_scaler_options(loss_scale)
        )
        # A number stays as it is: AmpOptimWrapper.step sets it again after each step.
        constant = isinstance(loss_scale, (int, float))
        self._scale_update_param = float(loss_scale) if constant else None
        name = str(self.cast_dtype).removeprefix('torch.')
        print_log(f'Training computes in {name} on {self.device}.', logger='current')

    def state_dict(self) -> dict:
        """Return the optimizer's state, with the loss scaler's in float16 only."""
        state = super().state_dict()
        if not self.loss_scaler.is_enabled():
            del state['loss_scaler']
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """Load the state of any optimizer wrapper, saved in whatever precision."""
        # The scaler refuses an empty state, which AmpOptimWrapper saves in bfloat16.
        state = {key: value for key, value in state_dict.items() if key != 'loss_scaler' or value}
        super().load_state_dict(state)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Compute the losses inside in ``cast_dtype``; skip the gradients' needless syncs."""
        # Not mmengine's autocast: that one refuses float16 on the CPU.
        cast = (
            nullcontext()
            if self.cast_dtype == torch.float32
            else torch.autocast(self.device, self.cast_dtype)
        )
        with OptimWrapper.optim_context(self, model), cast:
            yield


def _scaler_options(loss_scale: str | float | dict) -> dict:
    if isinstance(loss_scale, dict):
        return loss_scale
    if isinstance(loss_scale, (int, float)):
        return dict(init_scale=float(loss_scale))
    if loss_scale == 'dynamic':
        return {}
    raise UserError(
        f"optim_wrapper: loss_scale={loss_scale!r} is neither 'dynamic' nor a number nor a dict"
    )
