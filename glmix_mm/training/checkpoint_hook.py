"""Finds the checkpoint to continue from, and keeps it safe while the next one is saved."""

import re
from collections.abc import Mapping
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from torch import Tensor

from ..checkpoints.compare_states import is_finite, is_state
from ..checkpoints.fit import read, weights_of
from ..errors import UserError
from ..utils.atomic_files import ATOMIC, TEMPORARY, write_atomically
from ..utils.messages import some
from .exact_loops import DONE_IN_EPOCH, VALIDATED
from .run_folder import id_in, id_of

NAME = re.compile(r'(epoch|iter)_(\d+)\.pth')  # of the checkpoints that mmengine saves
INTERRUPTED = 'interrupted.pth'  # saved by a signal; goes when the next of those is saved
OUTDATED = 'outdated'  # what the message hub calls the files that a checkpoint makes needless
LARGEST = 2**32 - 1  # seed that numpy takes; steps and epochs stay below it
KEPT, BEST = 'keep_ckpt_ids', 'best_ckpt'  # mmengine's names for the checkpoints that are there
POINTER = 'last_checkpoint'  # mmengine's file that holds the newest one's path


def find_latest(work_dir: str | Path) -> tuple[str, dict, list[str]] | None:
    """Return the newest checkpoint from which a training run can continue.

    The one that mmengine noted comes first, then the others by falling number. Those that can't
    be resumed, or that another run saved than the one that started here last, are passed over.

    Args:
        work_dir: the run's folder.

    Returns:
        Path, content, and why newer ones were passed over; None if the folder has no checkpoint
        of this run.

    Raises:
        UserError: there are checkpoints, but none to continue from.
    """
    paths, own = saved_checkpoints(Path(work_dir)), id_in(work_dir)
    failures, others = [], []
    for path in paths:
        try:
            checkpoint = read_resumable(str(path))
        except UserError as error:
            failures.append(str(error))
            continue
        if not own or id_of(checkpoint) == own:
            return str(path), checkpoint, failures + others
        others.append(f'{path}: saved by another run')
    if failures and not others:
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
    interrupted = folder / INTERRUPTED
    paths = [interrupted, *paths] if interrupted.is_file() else paths
    pointer = folder / POINTER
    text = pointer.read_text(errors='replace').strip() if pointer.is_file() else ''
    if not text:
        return paths
    # The run may have been moved since, or save its checkpoints in a folder of their own.
    noted = folder / Path(text).name
    noted = noted if noted.is_file() else Path(text)
    return [noted, *(path for path in paths if path != noted)] if noted.is_file() else paths


def read_resumable(path: str) -> dict:
    """Read a checkpoint from which training can continue, not only start with its weights.

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
    if not missing:
        missing += _unsound_log(checkpoint['message_hub'])
    if not missing and not _are_groups(checkpoint['optimizer'].get('param_groups', [])):
        missing.append('sound optimizer.param_groups')
    for key in ('epoch', 'iter', 'seed'):
        number = progress.get(key)
        if number is not None and not _is_count(number):
            missing.append(f'meta.{key} (found {number!r})')
    if missing:
        raise UserError(
            f'{path}: cannot resume: it has no {", ".join(missing)}; to start from its '
            f'weights: --cfg-options load_from={path}'
        )
    state = weights_of(checkpoint, path)
    averaged = checkpoint.get('ema_state_dict')
    state |= {f'ema: {key}': averaged[key] for key in averaged} if is_state(averaged) else {}
    wrong = [key for key, value in state.items() if not is_finite(value)]
    if wrong:
        raise UserError(
            f'{path}: cannot resume: {len(wrong)} of its {len(state)} tensors are not finite '
            f'({some(wrong)}): the run had broken down before it was saved'
        )
    return checkpoint


def _unsound_log(log: Mapping) -> list[str]:
    """Return the entries of a run's log that are not what the run would continue with.

    Some name files that are to be removed: they must be in the run's folder.
    """
    info = log.get('runtime_info', {})
    if not isinstance(info, Mapping):
        return ['sound message_hub.runtime_info']
    checks = {DONE_IN_EPOCH: _is_count, OUTDATED: _are_names, KEPT: _are_counts}
    checks |= {key: _is_text for key in info if str(key).startswith(BEST)}
    return [
        f'sound message_hub.runtime_info.{key} (found {info[key]!r})'
        for key, is_sound in checks.items()
        if key in info and not is_sound(info[key])
    ]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and 0 <= value <= LARGEST


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_count, value))


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _are_names(value: object) -> bool:
    """Tell whether these are names of files, without a folder."""
    return isinstance(value, list) and all(
        isinstance(name, str) and name == Path(name).name and name != '..' for name in value
    )


def _are_groups(groups: object) -> bool:
    """Tell whether an optimizer's state has its parameters in groups, as torch saves them."""
    return isinstance(groups, list) and all(
        isinstance(group, Mapping)
        and isinstance(group.get('params'), list)
        and isinstance(group.get('lr', 0.0), (int, float, Tensor))
        for group in groups
    )


def _remove_unfinished(path: Path) -> None:
    """Remove what a killed process had written of a file; its name may hold wildcards."""
    for unfinished in path.parent.glob(TEMPORARY.format(name=path.name)):
        unfinished.unlink(missing_ok=True)


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, but nothing goes before what replaces it is there.

    mmengine's own removes the outdated checkpoint and the best one first: a full disk or a kill at
    that moment leaves none. Each checkpoint names what is outdated once it is there, so that a
    resumed run removes what a killed one could not.
    """

    def before_train(self, runner) -> None:
        """Prepare the folder; remove what a killed run left."""
        if not (self.backend_args or self.file_client_args or '://' in str(self.out_dir)):
            self.backend_args = dict(backend=ATOMIC)
        super().before_train(runner)
        self._superseded = {}
        # Of a copy of the folder, not of the folder that was copied.
        self._set_best({key: self._path(Path(path).name) for key, path in self._best().items()})
        if not is_main_process():
            return
        for name in runner.message_hub.get_info(OUTDATED, []):
            self._remove(self._path(Path(name).name))
        noted = Path(runner.work_dir) / VALIDATED
        _remove_unfinished(Path(self.out_dir) / '*.pth')
        _remove_unfinished(Path(runner.work_dir) / POINTER)
        _remove_unfinished(noted)
        if not runner.iter:
            noted.unlink(missing_ok=True)

    def after_val_epoch(self, runner, metrics) -> None:
        """Save the best checkpoint; then note that this validation has ended."""
        super().after_val_epoch(runner, metrics)
        if is_main_process():
            write_atomically(Path(runner.work_dir) / VALIDATED, str(runner.iter).encode())

    def save_interrupted(self, runner, meta: dict) -> str:
        """Save a checkpoint besides the regular ones, from which to continue.

        Args:
            runner: the runner.
            meta: the epochs and iterations done, 'epoch' and 'iter'.

        Returns:
            Its path.
        """
        kept, template = self.max_keep_ckpts, self.filename_tmpl
        self.max_keep_ckpts, self.filename_tmpl = -1, INTERRUPTED
        self._save_checkpoint_with_step(runner, meta['iter'], meta)
        self.max_keep_ckpts, self.filename_tmpl = kept, template
        return self.last_ckpt

    def _save_checkpoint_with_step(self, runner, step, meta):
        best = self._best()
        outdated = {Path(path).name for key, path in self._superseded.items() if key in best}
        outdated -= {Path(path).name for path in best.values()}
        displaced = self._add_to_kept(runner, step)
        outdated |= set() if displaced is None else {self.filename_tmpl.format(displaced)}
        runner.message_hub.update_info(OUTDATED, sorted(outdated))
        try:
            super()._save_checkpoint_with_step(runner, step, meta)
        except OSError as error:
            error.filename = error.filename or self.last_ckpt
            raise
        outdated |= set() if self.filename_tmpl == INTERRUPTED else {INTERRUPTED}
        for name in outdated:
            self._remove(self._path(name))

    def _save_best_checkpoint(self, runner, metrics) -> None:
        self._superseded = self._best()
        self._set_best({})  # so that mmengine's own finds nothing to remove
        super()._save_best_checkpoint(runner, metrics)
        saved, previous, self._superseded = self._best(), self._superseded, {}
        self._set_best(previous | saved)
        for path in {previous[key] for key in saved if key in previous} - {*saved.values()}:
            self._remove(path)

    def _best(self) -> dict[str, str]:
        """Return the path of the best checkpoint of each score that has one."""
        if not self.save_best:
            return {}
        single = len(self.key_indicators) == 1
        paths = {'': self.best_ckpt_path} if single else self.best_ckpt_path_dict
        return {key: path for key, path in paths.items() if path}

    def _set_best(self, paths: dict[str, str]) -> None:
        if self.save_best and len(self.key_indicators) == 1:
            self.best_ckpt_path = paths.get('')
        elif self.save_best:
            self.best_ckpt_path_dict = {key: paths.get(key) for key in self.key_indicators}

    def _path(self, name: str) -> str:
        return self.file_backend.join_path(self.out_dir, name)

    def _remove(self, path: str) -> None:
        """Remove a checkpoint, if it is there."""
        if is_main_process() and self.file_backend.isfile(path):
            self.file_backend.remove(path)

    def _add_to_kept(self, runner, step: int) -> int | None:
        """Note the new checkpoint as kept; return the step of the one that it displaces."""
        if self.max_keep_ckpts <= 0 or (self.keep_ckpt_ids and self.keep_ckpt_ids[-1] == step):
            return None
        full = len(self.keep_ckpt_ids) == self.max_keep_ckpts
        outdated = self.keep_ckpt_ids[0] if full else None
        self.keep_ckpt_ids.append(step)  # a deque of this length: the oldest falls out
        runner.message_hub.update_info(KEPT, list(self.keep_ckpt_ids))
        return outdated
