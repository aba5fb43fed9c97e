"""Whether pretraining helps: python tests/training/pretraining_proof.py [FOLDER].

Trains GLNet-nano to classify the demo set's objects, publishes its backbone, and trains Mask R-CNN
on the demo set for an eighth of its schedule, from scratch and from that backbone. Both see the
same images, so this shows that the whole chain carries what was learned, not how it generalises.
"""

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # works without installation
os.environ.setdefault('GOMP_SPINCOUNT', '2000')  # as tools/demo.py

import torch

from glmix_mm.cli import run
from glmix_mm.data.cutouts import write_cutouts
from glmix_mm.data.demo_set import write_demo_dataset
from glmix_mm.deploy.publish import publish
from glmix_mm.training.train import main

STEPS, INTERVAL = 150, 50


def train(config: str, root: Path, folder: Path, *options: str) -> list[dict]:
    """Train a demo config; return the scores of each validation."""
    arguments = ['--data-root', str(root), '--work-dir', str(folder)]
    if run(main, [f'demo/{config}', *arguments, *(['--cfg-options', *options] if options else [])]):
        sys.exit(f'{config} failed')
    lines = max(folder.glob('*/vis_data/scalars.json')).read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if 'loss' not in entry]


def prove(folder: Path) -> None:
    """Train the classifier and both detectors, and print their scores."""
    torch.set_num_threads(2)
    root = write_demo_dataset(folder / 'data')
    counts = write_cutouts(root / 'coco', folder / 'shapes')
    start = time.monotonic()
    accuracy = train('classifier_glnet_nano.py', folder / 'shapes', folder / 'classifier')
    seconds = time.monotonic() - start
    checkpoint = next((folder / 'classifier').glob('iter_*.pth'))
    weights, _ = publish(str(checkpoint), folder / 'glnet_nano.pth')

    steps = (f'train_cfg.max_iters={STEPS}', f'train_cfg.val_interval={INTERVAL}')
    pretrained = (
        'model.backbone.init_cfg.type=Pretrained',
        f'model.backbone.init_cfg.checkpoint={weights}',
    )
    scratch = train('maskrcnn_glnet_nano.py', root, folder / 'scratch', *steps)
    started = train('maskrcnn_glnet_nano.py', root, folder / 'pretrained', *steps, *pretrained)

    print(f'\nClassifier: {counts["train"]} objects, {seconds:.0f} s; on {counts["val"]} held out:')
    tops = (f'{entry["accuracy/top1"]:.1f}' for entry in accuracy)
    print(f'  top-1 {" ".join(tops)} %')
    print(f'Mask R-CNN, box / mask AP after every {INTERVAL} steps:')
    for name, scores in (('from scratch', scratch), ('pretrained', started)):
        pairs = (f'{e["coco/bbox_mAP"]:.3f} / {e["coco/segm_mAP"]:.3f}' for e in scores)
        print(f'  {name:<14}{"   ".join(pairs)}')


if __name__ == '__main__':
    prove(Path(sys.argv[1] if len(sys.argv) > 1 else 'demo_out/proof').absolute())
