"""Compare slot grids on a trained GLNet: tools/compare_slot_grids.py IMAGE... [options]; --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works without installation

from glmix_mm.engine.cli import run
from glmix_mm.visualization.slot_grids import main

if __name__ == '__main__':
    sys.exit(run(main))
