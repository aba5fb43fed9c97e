"""What `glmix slots` does, from a checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works without installation

from glmix_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['slots', *sys.argv[1:]]))
