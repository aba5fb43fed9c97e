"""Export shipped variants of every family with every method, and compare three sizes: by hand.

    python tests/deploy/export_proof.py [KIND ...]

Weights are random. Prints what tools/export.py prints (the largest difference from torch at three
sizes, in standard deviations of an output, and the latency) and the time that the export took. The
tests do the same with tiny models.
"""

import sys
import tempfile
import time
from pathlib import Path

import torch
from exported_models import spread
from mmengine.model import revert_sync_batchnorm

from glmix_mm.config.load_config import load_config
from glmix_mm.deploy.export import export
from glmix_mm.models.build import build_model

CONFIGS = (
    'upernet_glnet_4g_160k',
    'semfpn_fcvit_b12_40k',
    'retinanet_dilateformer_tiny_1x',
    'maskrcnn_glnet_4g_3x',
    'upernet_dilateformer_tiny_160k',
    'retinanet_fcvit_b12_1x',
    'maskrcnn_dilateformer_tiny_1x',
    'maskrcnn_fcvit_b12_1x',
    'semfpn_glnet_4g_80k',
)


def prove(name: str) -> None:
    """Export one config for any size."""
    cfg = load_config(name, {'model.backbone.init_cfg': None})
    torch.manual_seed(0)
    model = revert_sync_batchnorm(build_model(cfg)).eval().requires_grad_(False)
    spread(model)
    print(name, flush=True)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        files = export(cfg, model, ['?'], Path(folder) / 'model.onnx', dynamic=True, latency=True)
        sizes = [f'{path.stat().st_size / 2**20:.1f}' for path in files]
    print(f'  files of {", ".join(sizes)} MiB; {time.perf_counter() - start:.0f} s', flush=True)


if __name__ == '__main__':
    for config in sys.argv[1:] or CONFIGS:
        prove(config)
