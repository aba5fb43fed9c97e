"""Whether two processes train as one.

Run as ``python tests/training/processes_proof.py [FOLDER] [CHECKPOINT]``.

Mask R-CNN and Semantic FPN with GLNet-nano train 20 steps on the demo set, in one process and in
two that share each batch, and are tested in one and in two. Nothing is random but the order of the
data. SGD, because the first steps of AdamW turn gradients that are rounding errors into steps of
full length. Two losses of mmdet and mmseg are means over what a process has: Mask R-CNN's mask loss
over its sampled objects (each image gives two here), and a weighted cross-entropy over its classes
(no weights here). CHECKPOINT is what `make demo` left, demo_out/maskrcnn/iter_1500.pth: Mask R-CNN
goes on from it, since an untrained one ranks its proposals by rounding errors.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # works without installation

from glmix_mm.data.demo_set import write_demo_dataset

ROOT = Path(__file__).parents[2]
STEPS, BATCH, PROCESSES = 20, 4, 2
SAMPLERS = ('rpn.sampler.type=FirstSampler', 'rcnn.sampler.type=FirstSampler')
TASKS = {
    'maskrcnn': (
        *(f'model.train_cfg.{sampler}' for sampler in SAMPLERS),
        'model.train_cfg.rcnn.sampler.pos_fraction=0.0625',  # two of 32
        'train_dataloader.dataset.pipeline.2.prob=0.0',
    ),
    'semfpn': (
        'train_dataloader.dataset.pipeline.3.prob=0.0',
        'model.decode_head.loss_decode.class_weight=None',
    ),
}
CONFIG = """
_base_ = 'glmix_mm::demo/{task}_glnet_nano.py'
custom_imports = dict(imports=['glmix_mm', 'glmix_mm.models.roi_extractor', 'repeatable'])
custom_hooks = [dict(type='NoteLosses')]
# A steady, low rate: a warmup would be shortened, and high rates magnify rounding.
sgd = dict(_delete_=True, type='SGD', lr=0.001, momentum=0.9)
param_scheduler = []
optim_wrapper = dict(optimizer=sgd, clip_grad=None)
load_from = {start!r}
"""


def options(task: str, processes: int, root: Path) -> list[str]:
    """Return the settings under which the losses do not depend on the number of processes."""
    settings = [
        *TASKS[task],
        f'train_cfg.max_iters={STEPS}',
        f'train_cfg.val_begin={STEPS + 1}',
        f'train_dataloader.batch_size={BATCH // processes}',
    ]
    if task == 'maskrcnn':
        content = json.loads((root / 'coco/annotations/instances_train2017.json').read_text())
        things = [entry['image_id'] for entry in content['annotations'] if not entry['iscrowd']]
        ids = sorted(image['id'] for image in content['images'])
        several = [place for place, number in enumerate(ids) if things.count(number) >= 2]
        settings.append(f'train_dataloader.dataset.indices={several}')
    return ['--cfg-options', *(setting.replace(' ', '') for setting in settings)]


def call(tool: str, processes: int, *arguments: str) -> None:
    """Run tools/train.py or tools/test.py, in several processes through its shell script."""
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get('PYTHONPATH', '')])
    environment = dict(os.environ, PYTHON=sys.executable, PYTHONPATH=paths, OMP_NUM_THREADS='1')
    command = [sys.executable, str(ROOT / f'tools/{tool}.py'), *arguments]
    if processes > 1:
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            environment['PORT'] = str(probe.getsockname()[1])
        place = 1 if tool == 'train' else 2
        shared = [*arguments[:place], str(processes), *arguments[place:]]
        command = [str(ROOT / f'tools/dist_{tool}.sh'), *shared]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f'{" ".join(command)} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}')


def train(
    task: str, root: Path, folder: Path, processes: int, start: str | None = None
) -> list[dict[str, float]]:
    """Train; return the losses of each step."""
    config = folder.with_suffix('.py')
    config.write_text(CONFIG.format(task=task, start=start))
    common = (str(config), '--data-root', str(root), '--work-dir', str(folder))
    call('train', processes, *common, '--seed', '3', *options(task, processes, root))
    return read_losses(folder)


def read_losses(folder: Path) -> list[dict[str, float]]:
    """Return the losses of each step of a training."""
    return [json.loads(line) for line in (folder / 'losses.json').read_text().splitlines()]


def score(task: str, root: Path, folder: Path, checkpoint: Path, processes: int) -> dict:
    """Test; return the scores as they were written."""
    arguments = (f'demo/{task}_glnet_nano.py', str(checkpoint), '--data-root', str(root))
    call('test', processes, *arguments, '--work-dir', str(folder))
    (path,) = folder.glob('*/2*.json')
    scores = json.loads(path.read_text())
    return {key: value for key, value in scores.items() if 'time' not in key}


def largest_difference(first: list[dict], second: list[dict]) -> float:
    """Return the largest difference of any loss in any step."""
    assert len(first) == len(second) == STEPS
    pairs = zip(first, second, strict=True)
    return max(abs(a[key] - b[key]) for a, b in pairs for key in a if 'loss' in key)


def prove(folder: Path, start: str | None) -> None:
    """Train and test each task in one and in two processes, and print what differs."""
    root = write_demo_dataset(folder / 'data')
    for task in TASKS:
        begin = start if task == 'maskrcnn' else None
        alone, shared = (
            train(task, root, folder / f'{task}_{n}', n, begin) for n in (1, PROCESSES)
        )
        difference = largest_difference(alone, shared)
        print(f'{task}: losses of step 1 {alone[0]}, of step {STEPS} {alone[-1]}')
        print(f'{task}: largest difference of any loss in {STEPS} steps: {difference:.1e}')
        checkpoint = folder / f'{task}_1' / f'iter_{STEPS}.pth'
        one, two = (
            score(task, root, folder / f'{task}_test_{n}', checkpoint, n) for n in (1, PROCESSES)
        )
        print(f'{task}: scores {"equal" if one == two else "DIFFERENT"}: {one} {two}', flush=True)


if __name__ == '__main__':
    given = dict(enumerate(sys.argv[1:]))
    prove(Path(given.get(0, 'demo_out/processes')).absolute(), given.get(1))
