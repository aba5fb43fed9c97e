"""Finds the checkpoint to go on from, and keeps it safe while the next one is saved."""

import re
from collections.abc import Mapping
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS

from ..datasets.paths import some
from ..errors import UserError
from ..platform.states import is_finite
from .checkpoints import read, weights_of

NAME = re.compile(r'(epoch|iter)_(\d+)\.pth')  # of the checkpoints that mmengine saves
POINTER = 'last_checkpoint'  # mmengine's file that holds the newest one's path


def find_latest(work_dir: str | Path) -> tuple[str, dict, list[str]] | None:
    """Return the newest checkpoint from which a training run can go on.

    The one that mmengine noted comes first, then the others by falling number. Those that can't
    be resumed are passed over.

    Args:
        work_dir: the run's folder.

    Returns:
        Path, content, and why newer ones were passed over; None if the folder has no checkpoint.

    Raises:
        UserError: there are checkpoints, but none to go on from.
    """
    paths = saved_checkpoints(Path(work_dir))
    failures = []
    for path in paths:
        try:
            return str(path), read_resumable(str(path)), failures
        except UserError as error:
            failures.append(str(error))
    if failures:
        raise UserError(
            f'--resume: none of the {len(paths)} checkpoints in {Path(work_dir).absolute()} can '
            f'be resumed; the newest: {failures[0]}'
        )
    return None


def saved_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a training run, the newest first."""
    found = {path: NAME.fullmatch(path.name) for path in folder.glob('*.pth')}
    numbers = {path: int(match[2]) for path, match in found.items() if match}
    paths = sorted(numbers, key=numbers.get, reverse=True)
    pointer = folder / POINTER
    text = pointer.read_text().strip() if pointer.is_file() else ''
    if not text:
        return paths
    # The run may have been moved since, or save its checkpoints in a folder of their own.
    noted = folder / Path(text).name
    noted = noted if noted.is_file() else Path(text)
    return [noted, *(path for path in paths if path != noted)] if noted.is_file() else paths


def read_resumable(path: str) -> dict:
    """Read a checkpoint from which training can go on, not only start with its weights.

    Raises:
        UserError: it can't be read, or lacks the optimizer's state or the progress.
    """
    checkpoint = read(path)
    missing = [key for key in ('state_dict', 'optimizer', 'message_hub') if key not in checkpoint]
    meta = checkpoint.get('meta')
    progress = meta if isinstance(meta, Mapping) else {}
    missing += [f'meta.{key}' for key in ('epoch', 'iter') if key not in progress]
    for key in ('optimizer', 'message_hub'):
        if key not in missing and not isinstance(checkpoint[key], Mapping):
            missing.append(f'{key} (found {type(checkpoint[key]).__name__})')
    for key in ('epoch', 'iter'):
        if key in progress and not (isinstance(progress[key], int) and progress[key] >= 0):
            missing.append(f'meta.{key} (found {progress[key]!r})')
    if missing:
        raise UserError(
            f'{path}: cannot resume, for it has no {", ".join(missing)}; to start from its '
            f'weights: --cfg-options load_from={path}'
        )
    state = weights_of(checkpoint, path)
    wrong = [key for key, value in state.items() if not is_finite(value)]
    if wrong:
        raise UserError(
            f'{path}: cannot resume, for {len(wrong)} of its {len(state)} tensors are not finite '
            f'({some(wrong)}): the run had broken down before it was saved'
        )
    return checkpoint


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, but the outdated checkpoint goes after the new one is saved.

    With ``max_keep_ckpts=1`` mmengine's own would remove the only checkpoint first, and a full
    disk would then leave none.
    """

    def _save_checkpoint_with_step(self, runner, step, meta):
        outdated = self._add_to_kept(runner, step)
        try:
            super()._save_checkpoint_with_step(runner, step, meta)
        except OSError as error:
            error.filename = error.filename or self.last_ckpt
            raise
        if outdated is not None and is_main_process():
            path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(outdated))
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)

    def _add_to_kept(self, runner, step: int) -> int | None:
        """Note the new checkpoint as kept; return the step of the one that it displaces."""
        if self.max_keep_ckpts <= 0 or (self.keep_ckpt_ids and self.keep_ckpt_ids[-1] == step):
            return None
        full = len(self.keep_ckpt_ids) == self.max_keep_ckpts
        outdated = self.keep_ckpt_ids[0] if full else None
        self.keep_ckpt_ids.append(step)  # a deque of this length: the oldest falls out
        runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        return outdated
