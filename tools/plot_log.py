"""Draw the curves of training runs: tools/plot_log.py WORK_DIR... [--out FILE]; see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works without installation

from glmix_mm.analysis.plot_log import main
from glmix_mm.engine.cli import run

if __name__ == '__main__':
    sys.exit(run(main))
