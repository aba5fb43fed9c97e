"""Says which file is to blame for what goes wrong inside mmengine's Runner."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, distributed
from torch.optim import Optimizer

from ..errors import UserError
from ..utils.messages import one_line, some
from .checkpoint_hook import SafeCheckpointHook


class Stopped(UserError):
    """An error, most often in a file, ended a training that can continue once it is fixed."""


@contextmanager
def blame_files(cfg: Config) -> Iterator[None]:
    """Name the checkpoint that can't be resumed, and the images with which a step failed.

    Args:
        cfg: the run's config.

    Raises:
        UserError: either of both happened; anything else passes.
        Stopped: a training ended that had saved something, or lost another process.
    """
    try:
        yield
    except UserError as error:
        images, text = _images(error), str(error)
        if images and not any(image in text for image in images):
            text += f'; images of the batch: {some(images)}'
        kept = _last_checkpoint(error)
        if kept and 'resume' not in text:  # else it says already what to do
            raise Stopped(f'{text}; the last checkpoint, {kept}, is intact') from error
        if text == str(error):
            raise
        raise UserError(text) from error
    except Exception as error:
        if distributed.is_initialized() and _lost_contact(error):
            kept = _last_checkpoint(error)
            left = f'; the last checkpoint, {kept}, is intact' if kept else ''
            raise Stopped(
                f'another process of this run has ended or does not answer, see what it said{left}'
            ) from error
        if not (_in_resume(error) or (cfg.get('resume') and _in_optimizer(error))):
            raise
        raise UserError(
            f'{cfg.load_from}: cannot resume: its state does not fit this run '
            f'({type(error).__name__}: {one_line(error)}); give the config that it was trained '
            f'with, or start from its weights: --cfg-options load_from={cfg.load_from}'
        ) from error


def _lost_contact(error: Exception) -> bool:
    """Tell whether an exception is that of gloo or NCCL about another process."""
    kinds = distributed.DistBackendError, distributed.DistNetworkError
    return isinstance(error, kinds) or 'gloo/transport' in str(error)


def _in_resume(error: Exception) -> bool:
    """Tell whether an exception arose while mmengine's Runner restored its state."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(frame.f_code is Runner.resume.__code__ for frame in frames)


def _in_optimizer(error: Exception) -> bool:
    """Tell whether an optimizer did not find what it needs in its state."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    at_work = any(isinstance(frame.f_locals.get('self'), Optimizer) for frame in frames)
    return at_work and isinstance(error, (AttributeError, KeyError, TypeError))


def _last_checkpoint(error: Exception) -> str:
    """Return what a training had saved last, or gone on from, when an exception arose, or ''."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code is Runner.train.__code__:
            runner = frame.f_locals['self']
            savers = [hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook)]
            saved = [hook.last_ckpt for hook in savers if getattr(hook, 'last_ckpt', None)]
            going_on = runner._load_from if runner._resume else ''
            return saved[0] if saved else going_on
    return ''


def _images(error: Exception) -> list[str]:
    """Return the image files of the batch that was worked on when an exception arose."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        batch = frame.f_locals.get('data_batch')
        if frame.f_code.co_name == 'run_iter' and isinstance(batch, dict):
            samples = batch.get('data_samples') or []
            return [sample.img_path for sample in samples if 'img_path' in sample]
    return []


class ResumedStateHook(Hook):
    """Checks, before the first step, that an optimizer's resumed state is of the model."""

    def before_train(self, runner: Runner) -> None:
        """Compare the shapes of the optimizer's tensors with those of their parameters.

        Raises:
            UserError: one differs.
        """
        for group in runner.optim_wrapper.param_groups:
            for parameter in group['params']:
                state = runner.optim_wrapper.optimizer.state.get(parameter, {})
                wrong = [
                    f'{name} {tuple(value.shape)} instead of {tuple(parameter.shape)}'
                    for name, value in state.items()
                    if isinstance(value, Tensor) and value.dim() and value.shape != parameter.shape
                ]
                if wrong:
                    raise UserError(
                        f"{runner._load_from}: cannot resume: its optimizer's state has "
                        f'{some(wrong)}; to start from its weights: --cfg-options '
                        f'load_from={runner._load_from}'
                    )
