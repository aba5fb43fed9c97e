"""Export a model: tools/export.py CONFIG CHECKPOINT OUT.onnx [options]; --help lists them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works without installation

from glmix_mm.deploy.export import main
from glmix_mm.engine.cli import run

if __name__ == '__main__':
    sys.exit(run(main))
