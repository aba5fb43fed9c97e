"""The text of a config, which mmengine formats anew each time it logs, writes or saves it."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import config


@contextmanager
def formatted_once() -> Iterator[None]:
    """Let mmengine format a text once: for the length of a command.

    yapf takes 0.2 s for a Mask R-CNN's, four times before the first step and once for each
    checkpoint.
    """
    original, known = config.FormatCode, {}

    def format_code(text: str, style_config: dict, **options) -> tuple[str, bool]:
        key = text, repr(style_config), repr(options)
        if key not in known:
            known[key] = original(text, style_config=style_config, **options)
        return known[key]

    config.FormatCode = format_code
    try:
        yield
    finally:
        config.FormatCode = original
