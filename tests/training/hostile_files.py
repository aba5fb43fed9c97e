"""All cases of hostile and broken files."""

import hostile_annotations
import hostile_checkpoints
import hostile_images
from hostile_bench import Case

LIMIT = 60  # seconds that a case may take on a busy machine


def all_cases() -> list[Case]:
    """Return the cases, by group."""
    return [
        *hostile_checkpoints.cases(),
        *hostile_annotations.cases(),
        *hostile_images.cases(),
    ]
