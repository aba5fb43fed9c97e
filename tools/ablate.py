"""Compare the ablations of GLNet's paper in one run: tools/ablate.py [options]; see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works without installation

from glmix_mm.analysis.ablate import main
from glmix_mm.engine.cli import run

if __name__ == '__main__':
    sys.exit(run(main))
