"""Predicts on a video, frame by frame."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.infer import BaseInferencer
from pycocotools import mask as run_lengths

from ..utils.atomic_files import write_atomically
from ..utils.pictures import save_png
from ..utils.videos import Video, video_writer
from .coco_results import coco_results, objects_of
from .drawing import draw_legend
from .infer import infer, label_map

LEGEND_WIDTH = 640  # pixels


def predict_video(
    inferencer: BaseInferencer,
    path: Path,
    out: Path,
    name: str,
    score_thr: float = 0.3,
    numbers: Sequence[int] | None = None,
) -> None:
    """Predict on each frame; save a video with the predictions drawn, and what they are.

    The latter has a line of json per frame: its number, from 0, and its time in seconds. A detector
    adds ``annotations`` as :func:`~glmix_mm.inference.predict.predict` writes them, with the name
    of the class. A segmentor adds ``segments``: for each class of the frame its ``label``, from 0,
    its name, its area in pixels and its mask as COCO's run lengths. A segmentor also writes a
    legend of its colours, as a picture. If a video ends unexpectedly, the frames before that are
    used.

    Args:
        inferencer: as :func:`glmix_mm.inference.predict.make_inferencer` returns it.
        path: of the video.
        out: folder for ``NAME.mp4``, ``NAME.jsonl`` and ``NAME_legend.png``.
        name: of what is written.
        score_thr: least score of a detection.
        numbers: each class's category; by default its place, from 1.

    Raises:
        UserError: it is no video; or, once what can be read is done, that it breaks off.
        OSError: a file cannot be written.
    """
    video = Video(path)
    classes, palette = (inferencer.model.dataset_meta[key] for key in ('classes', 'palette'))
    numbers = numbers or range(1, len(classes) + 1)
    names = dict(zip(numbers, classes, strict=True))
    records, seen = [], set()
    with video_writer(out / f'{name}.mp4', video.frames_per_second) as writer:
        for frame in video:
            sample, picture = infer(inferencer, frame, score_thr)
            writer.write(picture)
            record = dict(frame=len(records), seconds=len(records) / video.frames_per_second)
            if inferencer.scope == 'mmdet':
                found = objects_of(sample, len(classes))
                found = coco_results(found, record['frame'], numbers, score_thr)
                record['annotations'] = [
                    dict(one, iscrowd=0, name=names[one['category_id']]) for one in found
                ]
            else:
                record['segments'] = segments(label_map(sample), classes)
                seen |= {segment['label'] for segment in record['segments']}
            records.append(json.dumps(record))
    if records:
        write_atomically(out / f'{name}.jsonl', '\n'.join([*records, '']).encode())
        print(out / f'{name}.mp4', out / f'{name}.jsonl', sep='\n', flush=True)
    if seen:
        names, colours = ([values[i] for i in sorted(seen)] for values in (classes, palette))
        save_png(out / f'{name}_legend.png', draw_legend(names, colours, LEGEND_WIDTH))
        print(out / f'{name}_legend.png', flush=True)
    video.check_complete()


def segments(labels: np.ndarray, classes: Sequence[str]) -> list[dict]:
    """Return what a label map (H, W) holds: of each class its label, name, area and mask."""
    found = []
    for label in np.unique(labels).tolist():
        code = run_lengths.encode(np.asfortranarray(labels == label).astype(np.uint8))
        mask = dict(size=code['size'], counts=code['counts'].decode())
        area = int((labels == label).sum())
        found.append(dict(label=label, name=classes[label], area=area, segmentation=mask))
    return found
