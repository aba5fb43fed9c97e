"""Train and test on the embedded demo set: tools/demo.py [options]; --help lists them."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works without installation

# Threads that wait by spinning for long slow each other down (tenfold) when other programs use the
# cores as well; those that don't spin at all are a third slower when none does.
os.environ.setdefault('GOMP_SPINCOUNT', '2000')

from glmix_mm.engine.cli import run
from glmix_mm.engine.demo import main

if __name__ == '__main__':
    sys.exit(run(main))
