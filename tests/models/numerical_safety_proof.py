"""200 steps at the recipes' rates in bfloat16: python tests/models/numerical_safety_proof.py."""

import math
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # works without installation
sys.path.insert(0, str(Path(__file__).parents[1]))

from families import SMALL
from numerical_safety import train

STEPS, SIZE = 200, 32

for name, kind in SMALL:
    start = time.monotonic()
    losses = train(name, kind, STEPS, 'bfloat16', SIZE)
    assert all(map(math.isfinite, losses))
    early, late = (sum(part) / len(part) for part in (losses[:20], losses[-20:]))
    print(
        f'{name} {kind}: {STEPS} steps in bfloat16, all finite; mean loss of the first 20 '
        f'{early:.2f}, of the last {late:.2f}; largest {max(losses):.2f} '
        f'({time.monotonic() - start:.0f} s)',
        flush=True,
    )
