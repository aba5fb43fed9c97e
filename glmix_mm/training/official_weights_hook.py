"""Lets mmengine load the authors' classification checkpoints, head included."""

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from ..config.edits import rename_official_weights
from ..models.classifier import official_weights


@HOOKS.register_module()
class OfficialWeightsHook(Hook):
    """Gives the tensors of an official checkpoint their names here when it has been read."""

    priority = 'VERY_HIGH'  # averaging hooks look into the checkpoint as well

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Replace the checkpoint's content, if it is official, by what mmengine expects."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        state = official_weights(model, checkpoint, 'the checkpoint')
        if state is not None:
            checkpoint.clear()
            checkpoint['state_dict'] = state


def accept_official(cfg: Config, model: nn.Module, checkpoint: dict, path: str) -> dict:
    """Return a checkpoint as mmengine expects it; have the run do the same if it is official.

    Args:
        cfg: the config; :class:`OfficialWeightsHook` is added to it if it is needed.
        model: the config's model.
        checkpoint: the content of the file.
        path: the file, for messages.

    Raises:
        UserError: a classifier's checkpoint holds no weights.
    """
    state = official_weights(model, checkpoint, path)
    if state is None:
        return checkpoint
    rename_official_weights(cfg)
    return dict(state_dict=state)
