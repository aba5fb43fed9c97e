"""What the pages take to be there: data, photos, weights, runs, a cluster's programs; all tiny."""

import importlib
import json
import os
import shutil
from pathlib import Path

import cv2
import torch
from PIL import Image

from glmix_mm.config.load_config import load_config
from glmix_mm.data.demo_set import MARKER, write_demo_dataset
from glmix_mm.models import GLNet
from glmix_mm.models.build import build_model

SIZE = 64  # px
IMAGES = dict(num_train=4, num_val=2, image_size=SIZE)
CLASSES = 1000  # of ImageNet
# The settings of the whole demo set: it is taken to be there already.
WHOLE_DEMO = dict(version=1, num_train=512, num_val=48, image_size=192, seed=0)
DEMO_IMAGE = '000000000513.jpg'  # the first one held out
# What the capitals on the pages stand for.
PLACEHOLDERS = {
    'CHECKPOINT': 'semfpn.pth',
    'CONFIG': 'configs/semfpn_glnet_4g_80k.py',
    'DIR': 'data/ade/ADEChallengeData2016',
    'FOLDER': 'real',
    'NAME': 'name',
    'OUT.onnx': 'out.onnx',
    'PARTITION': 'partition',
    'WORK_DIR': 'cluster_run',
}
DETECTOR, SEGMENTOR, CLASSIFIER = (
    'maskrcnn_glnet_4g_3x',
    'semfpn_glnet_4g_80k',
    'imagenet/glnet_4g',
)
RUNS = ('work_dirs/maskrcnn_glnet_4g_3x', 'work_dirs/maskrcnn_glnet_9g_3x')
CLUSTER = ('mpirun', 'python', 'srun', 'torchrun')
RECORD = 'started'  # where a stand-in of the cluster notes how it was called


def write_all(folder: Path, repository: Path) -> None:
    """Lay out a folder as the pages take it to be; to be called where everything is small."""
    for name in ('configs', 'tools', 'tests'):
        (folder / name).symlink_to(repository / name)
    write_data(folder)
    write_photos(folder)
    write_weights(folder)
    for run in RUNS:
        write_log(folder / run)
    write_cluster(folder / 'bin')


def write_data(folder: Path) -> None:
    """Write data/: COCO with its 80 classes, ADE20K and ImageNet; and demo_out/data."""
    write_demo_dataset(folder / 'data', **IMAGES)
    for path in (folder / 'data' / 'coco' / 'annotations').iterdir():
        content = json.loads(path.read_text())
        names = enumerate(classes_of('CocoDataset'), 1)
        content['categories'] = [dict(id=number, name=name) for number, name in names]
        path.write_text(json.dumps(content))
    image = next((folder / 'data' / 'coco' / 'train2017').iterdir())
    for place in range(2 * CLASSES):
        split, name = ('train', 'val')[place % 2], f'n{place // 2:08d}'
        target = folder / 'data' / 'imagenet' / split / name / f'{name}.jpg'
        target.parent.mkdir(parents=True)
        os.link(image, target)
    demo = write_demo_dataset(folder / 'demo_out' / 'data', **IMAGES)
    (demo / MARKER).write_text(json.dumps(WHOLE_DEMO))
    held_out = demo / 'coco' / 'val2017'
    shutil.copyfile(max(held_out.iterdir()), held_out / DEMO_IMAGE)


def write_photos(folder: Path) -> None:
    """Write photo.jpg, photos/ and clip.mp4, of two frames."""
    (folder / 'photos').mkdir()
    images = sorted((folder / 'data' / 'coco' / 'val2017').iterdir())
    writer = cv2.VideoWriter(
        str(folder / 'clip.mp4'), cv2.VideoWriter.fourcc(*'mp4v'), 5.0, (SIZE, SIZE)
    )
    for place, path in enumerate(images):
        with Image.open(path) as image:
            image.resize((80, 60)).save(folder / 'photos' / f'{place}.jpg')
        writer.write(cv2.imread(str(path)))
    writer.release()
    shutil.copyfile(folder / 'photos' / '0.jpg', folder / 'photo.jpg')


def write_weights(folder: Path) -> None:
    """Write checkpoints of models that were never trained, but decide as if they had been."""
    torch.manual_seed(0)
    save(DETECTOR, folder / 'epoch_36.pth')
    shutil.copyfile(folder / 'epoch_36.pth', parent(folder / RUNS[0] / 'epoch_36.pth'))
    save(SEGMENTOR, folder / PLACEHOLDERS['CHECKPOINT'])
    save(CLASSIFIER, folder / 'work_dirs' / 'glnet_4g' / 'epoch_300.pth')
    save('demo/maskrcnn_glnet_nano', folder / 'demo_out' / 'maskrcnn' / 'iter_1500.pth')
    # The authors' file holds the classifier, in keys that other tests know; here the keys are ours.
    save(CLASSIFIER, folder / 'checkpoints' / 'glnet_4g.pth')
    for arch in ('16g', 'stl'):
        state = GLNet(arch, output_norms=False).state_dict()
        torch.save(dict(state_dict=state), folder / 'checkpoints' / f'glnet_{arch}.pth')
    shutil.copyfile(folder / 'checkpoints' / 'glnet_stl.pth', folder / 'glnet_stl.pth')


def save(name: str, path: Path) -> None:
    """Save a config's model as tools/train.py would."""
    cfg = load_config(name)
    model = build_model(cfg)
    if hasattr(model, 'roi_head'):  # no two scores alike, so that something is found
        torch.nn.init.normal_(model.roi_head.bbox_head.fc_cls.weight)
    dataset = cfg.test_dataloader.dataset
    classes = dataset.get('metainfo', {}).get('classes') or classes_of(dataset.type)
    meta = dict(cfg=cfg.pretty_text, epoch=36, iter=36, dataset_meta=dict(classes=classes))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), parent(path))


def classes_of(dataset: str) -> list[str]:
    """Return the classes that a data set of the libraries has by itself."""
    package = dict(CocoDataset='mmdet', ADE20KDataset='mmseg', ImageNet='mmpretrain')[dataset]
    return getattr(importlib.import_module(f'{package}.datasets'), dataset).METAINFO['classes']


def write_log(run: Path) -> None:
    """Write the log of a run of two steps and a validation."""
    entries = [dict(loss=2.0 / step, lr=0.1 / step, iter=step, step=step) for step in (1, 2)]
    entries.append({'coco/bbox_mAP': 0.3, 'coco/segm_mAP': 0.2, 'step': 2})
    path = parent(run / '20260101_000000' / 'vis_data' / 'scalars.json')
    path.write_text(''.join(json.dumps(entry) + '\n' for entry in entries))


def write_cluster(folder: Path) -> None:
    """Write programs that note how they are called, in place of those that start processes."""
    folder.mkdir()
    for name in CLUSTER:
        program = folder / name
        program.write_text(f'#!/bin/sh\nprintf \'%s\\0\' {name} "$@" > {RECORD}\n')
        program.chmod(0o755)


def parent(path: Path) -> Path:
    """Return the path, in a folder that is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
