"""Learning rates that decay layer by layer, in classifiers, detectors and segmentors alike."""

from functools import partial

from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from ..errors import UserError


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor:
    """mmpretrain's ``LearningRateDecayOptimWrapperConstructor`` for a backbone in any model.

    mmpretrain's asks the model itself for the layer of a parameter, which only its own classifiers
    answer; here the model's backbone is asked. What follows the backbone keeps the full learning
    rate, the last block has it times ``layer_decay_rate``, the stem the smallest.

    Args:
        optim_wrapper_cfg: settings of the optimizer wrapper.
        paramwise_cfg: ``layer_decay_rate``, and weight decay by parameter as in mmpretrain's.

    Raises:
        UserError: ``layer_decay_rate`` is missing or not above 0 and at most 1, or learning rates
            are set by parameter as well, which mmpretrain's constructor would ignore.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        paramwise = paramwise_cfg or {}
        rate = paramwise.get('layer_decay_rate')
        if not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise UserError(
                f'optim_wrapper: paramwise_cfg.layer_decay_rate={rate!r} of LayerDecayConstructor '
                'must be a number above 0 and at most 1, such as 0.75'
            )
        rates = [key for key in paramwise if key.endswith('lr_mult')]
        custom = paramwise.get('custom_keys') or {}
        rates += [f'custom_keys.{key}' for key, entry in custom.items() if 'lr_mult' in entry]
        if rates:
            raise UserError(
                f'optim_wrapper: paramwise_cfg sets learning rates by {", ".join(rates)} besides '
                'layer_decay_rate, but only one of the two can be used; remove them'
            )
        self.settings = optim_wrapper_cfg, paramwise

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper.

        Raises:
            UserError: the model has no backbone that knows its layers.
        """
        # Here, since mmpretrain takes seconds to import.
        from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor

        model = model.module if is_model_wrapper(model) else model
        backbone = getattr(model, 'backbone', None)
        if not hasattr(backbone, 'get_layer_depth'):
            raise UserError(
                f'optim_wrapper: LayerDecayConstructor needs a backbone with get_layer_depth, and '
                f"{type(model).__name__}'s is {type(backbone).__name__}; remove constructor and "
                'layer_decay_rate, or use a backbone of this package or mmpretrain'
            )
        constructor = LearningRateDecayOptimWrapperConstructor(*self.settings)
        depth = partial(backbone.get_layer_depth, prefix='backbone.')
        constructor.add_params = partial(constructor.add_params, get_layer_depth=depth)
        return constructor(model)
