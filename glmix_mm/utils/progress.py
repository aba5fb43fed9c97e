"""A progress display for short trainings: one line that is rewritten, or a line every 10 s."""

import time
from typing import TextIO

from mmengine.hooks import Hook

PERIOD = 10.0  # seconds between lines where the line can't be rewritten
REDRAW = 0.5  # seconds between rewrites


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds, such as '3:07'."""
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes}:{rest:02d}'


class Progress:
    """Writes the state of a run to a terminal (one line, rewritten) or a file (regular lines)."""

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.terminal = stream.isatty()
        self._shown = ''
        self._next = 0.0

    def update(self, text: str) -> None:
        """Show the present state, unless the last one was shown a moment ago."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (REDRAW if self.terminal else PERIOD)
        if not self.terminal:
            self.keep(text)
            return
        self._rewrite(text)

    def keep(self, text: str) -> None:
        """Write a line that stays."""
        if self.terminal:
            self._rewrite('')
        self.stream.write(f'{text}\n')
        self.stream.flush()

    def _rewrite(self, text: str) -> None:
        # Blanks hide the rest of a longer line.
        self.stream.write('\r' + text.ljust(len(self._shown)) + ('' if text else '\r'))
        self.stream.flush()
        self._shown = text


class ProgressHook(Hook):
    """Tells a :class:`Progress` of steps, losses, scores, and how long is left.

    Args:
        progress: where to show it.
        scores: name to show -> (mmengine's key, what its value is divided by).
    """

    def __init__(self, progress: Progress, scores: dict[str, tuple[str, float]]):
        self.progress = progress
        self.scores = scores
        self.metrics: dict[str, float] = {}
        self._start = 0.0

    def before_train(self, runner) -> None:
        """Start the clock."""
        self._start = time.monotonic()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Show the step, its loss, the time passed and the time left."""
        done, total = runner.iter + 1, runner.max_iters
        passed = time.monotonic() - self._start
        # Assumes that validations take as long as those so far.
        left = passed / done * (total - done)
        self.progress.update(
            f'  step {done}/{total}   loss {outputs["loss"].item():.3f}   '
            f'passed {clock(passed)}   left {clock(left)}'
        )

    def before_val_epoch(self, runner) -> None:
        """Say what takes the time now."""
        self.progress.update(f'  step {runner.iter}/{runner.max_iters}   testing ...')

    def after_val_epoch(self, runner, metrics=None) -> None:
        """Show the scores on the held-out images."""
        self.metrics = dict(metrics)
        shown = '   '.join(
            f'{n} {metrics[key] / unit:.3f}' for n, (key, unit) in self.scores.items()
        )
        passed = clock(time.monotonic() - self._start)
        self.progress.keep(
            f'  step {runner.iter}/{runner.max_iters}   held-out images: {shown}   passed {passed}'
        )
