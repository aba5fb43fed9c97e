"""Strip a training checkpoint to its backbone: tools/publish.py RUN.pth OUT.pth."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works without installation

from glmix_mm.engine.cli import run
from glmix_mm.engine.publish import main

if __name__ == '__main__':
    sys.exit(run(main))
