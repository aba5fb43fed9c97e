"""Many sizes: python tests/models/any_size_proof.py [EXAMPLES], by default 60 of each law."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # works without installation
sys.path.insert(0, str(Path(__file__).parents[1]))

from any_size import LAWS, check
from families import SMALL

examples = int(sys.argv[1]) if len(sys.argv) > 1 else 60
for law, (make, arguments) in LAWS.items():
    for name, kind in SMALL:
        start = time.monotonic()
        check(make(name, kind), examples, **arguments)
        seconds = time.monotonic() - start
        print(f'{law}: {name} {kind}: {examples} sizes hold ({seconds:.0f} s)', flush=True)
