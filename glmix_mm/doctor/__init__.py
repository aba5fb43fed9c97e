"""``glmix doctor``: what would keep the main job from running, and what to do about it.

It has to work where packages are missing or broken, so nothing outside the standard library is
imported in its process, and this package's own import does nothing there (:func:`is_running`).
"""

import sys
from pathlib import Path


def is_running() -> bool:
    """Tell whether this process is ``glmix doctor`` or ``python -m glmix_mm doctor``."""
    command = sys.orig_argv
    for place, word in enumerate(command[:-1]):
        following = command[place + 1 :]
        if word == '-m' and following[:2] == ['glmix_mm', 'doctor']:
            return True
        if Path(word).stem == 'glmix' and following[0] == 'doctor':
            return True
    return False
