"""Made-up batches that a config's data preprocessor, head and number of classes accept.

To predict they have one image, as in the libraries' configs: some layers take no more.
"""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate, pseudo_collate
from mmengine.registry import TRANSFORMS
from mmengine.structures import InstanceData, PixelData
from zoo_page import FOLDER

SIZE = 128  # px
WORDS = ('cat', 'dog', 'bird')  # the classes of detectors that are told them as text
# They train their detector apart, and raise when they are asked to train.
PREDICTS_ONLY = ('DeepSORT', 'StrongSORT', 'OCSORT')


def made_up_bert(folder: Path) -> None:
    """Write a BERT of two layers with random weights, which knows the letters, to a folder."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    letters = 'abcdefghijklmnopqrstuvwxyz0123456789.,?!'
    words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', *letters, *(f'##{c}' for c in letters)]
    words += [*WORDS, *(f'[unused{n}]' for n in range(30522 - len(words) - len(WORDS)))]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'vocab.txt').write_text('\n'.join(words))
    BertTokenizerFast(str(folder / 'vocab.txt')).save_pretrained(folder)
    config = BertConfig(vocab_size=len(words), num_hidden_layers=2)
    BertModel(config).save_pretrained(folder)


def values_of(node, key: str) -> list:
    """Collect the values of a key in all parts of a config."""
    if isinstance(node, list | tuple):
        return [value for item in node for value in values_of(item, key)]
    if not isinstance(node, dict):
        return []
    found = [node[key]] if key in node else []
    return found + [value for item in node.values() for value in values_of(item, key)]


def fewest(model: dict, *keys: str) -> int:
    """Return the least number of classes that a part of a model is told, at most 80."""
    counts = [n for key in keys for n in values_of(model, key) if isinstance(n, int) and n > 0]
    return min([80, *counts])


def batches(cfg: Config, model, stage: str) -> Iterator[dict | None]:
    """Yield batches for a stage, the likeliest first; None where the model is not meant for it."""
    if cfg.default_scope == 'mmpretrain':
        yield classified(cfg, stage)
        return
    own = cfg.get('input_size', 512)  # some detectors have levels of features for that
    if cfg.default_scope == 'mmseg':
        own = cfg.get('crop_size') or cfg.model.data_preprocessor.get('size') or own
        own = own if isinstance(own, int) else min(own)
    for size in dict.fromkeys([SIZE, 2 * SIZE, own]):  # some keep 900 queries
        torch.manual_seed(0)
        preprocessor = model.data_preprocessor
        for module in (preprocessor, *(getattr(preprocessor, 'batch_augments', None) or ())):
            if getattr(module, 'size', None):  # to which it would pad
                module.size = (size, size)
        yield (segmented if cfg.default_scope == 'mmseg' else detected)(cfg.model, size, stage)


def image(size: int, channels: int = 3) -> torch.Tensor:
    """Return an image of noise, of (channels, size, size)."""
    return torch.randint(0, 256, (channels, size, size), dtype=torch.uint8)


def metainfo(size: int, **more) -> dict:
    """Return what the libraries' pipelines tell of an image."""
    return dict(
        img_id=0, img_path='made-up.png', img_shape=(size, size), ori_shape=(size, size),
        pad_shape=(size, size), scale_factor=(1.0, 1.0), flip=False, flip_direction=None,
        border=(0, size, 0, size), homography_matrix=np.eye(3, dtype=np.float32), **more,
    )  # fmt: skip


def segmented(model: dict, size: int, stage: str) -> dict:
    """Return images with a map of classes each, and of edges and depths."""
    from mmseg.structures import SegDataSample

    classes = fewest(model, 'num_classes')
    samples = []
    for _ in range(2 if stage == 'train' else 1):
        sample = SegDataSample(metainfo=metainfo(size))
        # In patches: rare classes have pixels enough.
        labels = torch.randint(0, classes, (1, size // 16, size // 16)).repeat_interleave(16, 1)
        sample.gt_sem_seg = PixelData(data=labels.repeat_interleave(16, 2))
        sample.gt_edge_map = PixelData(data=torch.randint(0, 2, (1, size, size)))
        sample.gt_depth_map = PixelData(data=1 + torch.rand(1, size, size))
        samples.append(sample)
    channels = len(model.data_preprocessor.mean)  # some take two photographs as one
    return dict(inputs=[image(size, channels) for _ in samples], data_samples=samples)


def instances(model: dict, size: int) -> InstanceData:
    """Return four objects of several sizes with boxes and masks."""
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks

    boxes = torch.tensor(
        [
            [0.05, 0.05, 0.45, 0.4],
            [0.5, 0.1, 0.95, 0.9],
            [0.1, 0.5, 0.4, 0.95],
            [0.6, 0.6, 0.8, 0.7],
        ]
    )
    boxes = (boxes * size).round()
    classes = fewest(model, 'num_classes', 'num_things_classes')
    if values_of(model, 'language_model'):
        classes = min(classes, len(WORDS))
    found = InstanceData(
        bboxes=HorizontalBoxes(boxes),
        labels=torch.arange(len(boxes)) % classes,
        instances_ids=torch.arange(len(boxes)),
    )
    maps = np.zeros((len(boxes), size, size), np.uint8)
    for drawn, (left, top, right, bottom) in zip(maps, boxes.int().tolist(), strict=True):
        drawn[top:bottom, left:right] = 1
    found.masks = BitmapMasks(maps, size, size)
    return found


def detection(model: dict, size: int, **more):
    """Return what mmdet's pipelines tell of an image: objects, classes of pixels, proposals."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes

    sample = DetDataSample(metainfo=metainfo(size, **more))
    sample.gt_instances = instances(model, size)
    if model.type == 'RTMDet' and 'loss_mask' not in model.bbox_head:
        del sample.gt_instances.masks  # its assigner takes them as tensors
    sample.ignored_instances = InstanceData(
        bboxes=HorizontalBoxes(torch.zeros(0, 4)), labels=torch.zeros(0, dtype=torch.long)
    )
    stuff = max([0, *(n for n in values_of(model, 'num_stuff_classes') if isinstance(n, int))])
    classes = fewest(model, 'num_classes', 'num_things_classes') + stuff
    labels = torch.randint(0, classes, (1, size, size))
    sample.gt_sem_seg = PixelData(sem_seg=labels)
    if values_of(model, 'language_model'):
        sample.set_metainfo(dict(text=' . '.join(WORDS), custom_entities=True))
    if model.type == 'FastRCNN':
        proposals = torch.tensor([[0.1, 0.1, 0.5, 0.5], [0.4, 0.2, 0.9, 0.9]]) * size
        sample.proposals = InstanceData(bboxes=proposals, scores=torch.ones(2))
    return sample


def detected(model: dict, size: int, stage: str) -> dict | None:
    """Return images for a detector, or clips for a tracker."""
    preprocessor = model.data_preprocessor
    if preprocessor.type == 'ReIDDataPreprocessor':
        return identified()
    if stage == 'train' and model.type in PREDICTS_ONLY:
        return None
    whole_images = preprocessor.get('use_det_processor') and stage == 'train'
    if preprocessor.type == 'TrackDataPreprocessor' and not whole_images:
        return tracked(model, size, stage)
    inputs = [image(size) for _ in range(2 if stage == 'train' else 1)]
    samples = [detection(model, size) for _ in inputs]
    if preprocessor.type != 'MultiBranchDataPreprocessor' or stage == 'predict':
        return dict(inputs=inputs, data_samples=samples)
    branches = ('sup', 'unsup_teacher', 'unsup_student')
    copied = {branch: [sample.clone() for sample in samples] for branch in branches}
    return dict(inputs=dict.fromkeys(branches, inputs), data_samples=copied)


def tracked(model: dict, size: int, stage: str) -> dict:
    """Return a clip of two frames (two clips to train), with the same objects in both."""
    from mmdet.structures import TrackDataSample

    samples = []
    for _ in range(2 if stage == 'train' else 1):
        sample = TrackDataSample(metainfo=dict(key_frames_inds=[0], ref_frames_inds=[1]))
        sample.video_data_samples = [
            detection(model, size, frame_id=frame, video_length=2, ori_video_length=2)
            for frame in range(2)
        ]
        for frame in sample.video_data_samples:  # their pipelines give plain tensors
            frame.gt_instances.bboxes = frame.gt_instances.bboxes.tensor
            frame.ignored_instances.bboxes = frame.ignored_instances.bboxes.tensor
        samples.append(sample)
    clips = [torch.stack([image(size), image(size)]) for _ in samples]
    return dict(inputs=clips, data_samples=samples)


def identified() -> dict:
    """Return four images of two persons, of the shape that the head takes."""
    from mmdet.structures import ReIDDataSample

    samples = [ReIDDataSample(metainfo=metainfo(256)).set_gt_label(n // 2) for n in range(4)]
    return dict(inputs=[image(256)[:, :, :128] for _ in samples], data_samples=samples)


def classified(cfg: Config, stage: str) -> dict | None:
    """Return images that went through the config's own pipeline, at its own size."""
    from mmpretrain.models import BaseSelfSupervisor
    from mmpretrain.registry import MODELS

    if stage == 'predict' and issubclass(MODELS.get(cfg.model.type), BaseSelfSupervisor):
        return None  # it learns features
    loader = cfg.get('train_dataloader' if stage == 'train' else 'test_dataloader')
    if loader is None:
        return None
    dataset = loader.dataset
    while 'pipeline' not in dataset:
        dataset = dataset['dataset']
    pipeline = Compose([TRANSFORMS.build(step) for step in dataset.pipeline])
    in_pairs = dataset.pipeline[0]['type'] == 'ApplyToList'
    classes = fewest(cfg.model, 'num_classes')
    multi_label = cfg.model.get('head', {}).get('type', '').startswith(('MultiLabel', 'CSRA'))
    items = []
    for number in range(2 if stage == 'train' else 1):
        pixels = np.random.default_rng(number).integers(0, 256, (256, 256, 3), dtype=np.uint8)
        path = str(FOLDER / f'image-{number}.png')
        cv2.imwrite(path, pixels)
        if len(cfg.get('data_preprocessor', {}).get('mean') or '') == 1:  # of grey images
            pixels = pixels[..., 0]
        label = number % classes
        items.append(pipeline(dict(
            img=pixels, img_shape=(256, 256), ori_shape=(256, 256),
            img_path=[path, path] if in_pairs else path,
            img_id=number, image_id=number, sample_idx=number,
            gt_label=[label] if multi_label else label,
            gt_bboxes=np.array([[20, 20, 200, 200]], np.float32),
            text='a cat', gt_caption='a cat', is_matched=True,
            question='what is it?', gt_answer=['a cat'], gt_answer_weight=[1.0],
        )))  # fmt: skip
    collate = loader.get('collate_fn', {}).get('type')  # mmpretrain's tools set the default
    return (pseudo_collate if collate == 'pseudo_collate' else default_collate)(items)
