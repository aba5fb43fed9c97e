"""Draw what GLNet's slots hold: tools/visualize_slots.py IMAGE... [options]; --help lists them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works without installation

from glmix_mm.engine.cli import run
from glmix_mm.visualization.visualize_slots import main

if __name__ == '__main__':
    sys.exit(run(main))
