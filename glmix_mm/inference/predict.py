"""Predicts with any of the models on one's own images and videos, for ``glmix predict``.

From Python, mmdet's ``DetInferencer``, mmseg's ``MMSegInferencer`` and mmpretrain's
``ImageClassificationInferencer`` do the same; they are what runs here.
"""

import contextlib
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.infer import BaseInferencer
from mmengine.registry import DATASETS, DefaultScope

from ..checkpoints.fit import check_fit, note_of_classes, read, weights_of
from ..checkpoints.record import trained_meta
from ..config.checked_parts import use_own_loading
from ..config.load_config import load_config
from ..errors import UserError
from ..models.build import build_model
from ..training.official_weights_hook import accept_official
from ..utils.atomic_files import write_atomically
from ..utils.devices import find_device
from ..utils.messages import some
from ..utils.nested import heads_classes, unwrap
from ..utils.palette import distinct_colours
from ..utils.parsers import predict_parser
from ..utils.pictures import find_images, for_each, read_image, save_png
from ..utils.registry_errors import config_mistakes
from ..utils.videos import is_video
from .classify import make_classifier
from .coco_results import NO_IDS, KnownIds, known_ids
from .infer import infer, label_map, smallest
from .predict_video import predict_video
from .results import Results

LIBRARIES = ('mmdet', 'mmseg', 'mmpretrain')
RESULTS = 'predictions.json'
LABEL_MAPS = 'labels'  # folder


def main(argv: Sequence[str]) -> None:
    """Predict as the command line says.

    Raises:
        UserError: a mistake in the arguments, the config or the checkpoint; or, once all other
            images are done, that some could not be used.
    """
    args = predict_parser().parse_args(argv)
    device = find_device(args.device)
    paths = find_images(args.images)
    cfg = load_config(args.config)
    with contextlib.redirect_stdout(sys.stderr):  # stdout lists the pictures alone
        inferencer = make_inferencer(cfg, args.checkpoint, str(device))
    predict(inferencer, paths, args.out, args.score_thr, known_ids(cfg))


def make_inferencer(cfg: Config, checkpoint: str, device: str = 'cpu') -> BaseInferencer:
    """Return the inferencer of mmdet, mmseg or mmpretrain, with a checkpoint that is sure to fit.

    The inferencers themselves load what fits and leave the rest as it is. Classes are those of the
    checkpoint, or else of the config's test set; classes without colours get some.

    Raises:
        UserError: the config is of none of these libraries, or the checkpoint does not fit it.
    """
    scope = library_of(cfg)
    use_own_loading(cfg)
    content = read(checkpoint)
    with config_mistakes(cfg.filename), warnings.catch_warnings():
        warnings.filterwarnings('ignore', module='mm')  # of the libraries' own older ways
        model = build_model(cfg)
        content = accept_official(cfg, model, content, checkpoint)
        check_fit(model.state_dict(), content, checkpoint, cfg)
        if scope == 'mmpretrain':
            inferencer = make_classifier(cfg, weights_of(content, checkpoint), device)
            inferencer.model.dataset_meta = find_classes(cfg, content)
            return inferencer
        if scope == 'mmdet':
            from mmdet.apis import DetInferencer

            inferencer = DetInferencer(cfg, checkpoint, device, show_progress=False)
        else:
            from mmseg.apis import MMSegInferencer

            inferencer = MMSegInferencer(cfg, checkpoint, device=device)
            inferencer.show_progress = False
    inferencer.model.dataset_meta = inferencer.visualizer.dataset_meta = find_classes(cfg, content)
    return inferencer


def library_of(cfg: Config) -> str:
    """Return which of the libraries a config is for.

    Raises:
        UserError: none of them.
    """
    scope = cfg.get('default_scope')
    if scope not in LIBRARIES:
        raise UserError(
            f'{cfg.filename} is for {scope}; expected default_scope to be one of '
            f'{", ".join(LIBRARIES)}'
        )
    return scope


def _note(text: str) -> None:
    print(f'note: {text}', file=sys.stderr, flush=True)


def find_classes(cfg: Config, checkpoint: dict, tell: Callable[[str], object] = _note) -> dict:
    """Return names and colours of the classes: the checkpoint's, or else the config's.

    Args:
        cfg: the config.
        checkpoint: the content of the file.
        tell: takes a line if both name classes, and not the same.

    Raises:
        UserError: there are no names, or not as many as the model has classes.
    """
    dataset = next(unwrap(cfg.test_dataloader.dataset))
    with DefaultScope.overwrite_default_scope(cfg.default_scope), config_mistakes(cfg.filename):
        own = DATASETS.build(dict(dataset, pipeline=[], lazy_init=True)).metainfo
    trained = trained_meta(checkpoint)
    classes = trained.get('classes') or own.get('classes')
    if not classes:
        raise UserError(
            f'{cfg.filename}: neither the checkpoint nor test_dataloader.dataset names classes; '
            'set its metainfo=dict(classes=...)'
        )
    for key, count in heads_classes(cfg.model, 'model'):
        if count != len(classes):
            named = 'the checkpoint' if trained.get('classes') else 'test_dataloader.dataset'
            raise UserError(
                f'{cfg.filename}: {key}={count}, but {named} names {len(classes)} classes '
                f'({some(classes)}); give a checkpoint, or metainfo=dict(classes=...), that fits'
            )
    palettes = [own.get('palette'), trained.get('palette')]
    if own.get('classes') and list(own['classes']) != list(classes):
        tell(note_of_classes(classes, own['classes'], cfg.filename))
        del palettes[0]  # in the order of other classes
    fitting = [palette for palette in palettes if palette and len(palette) == len(classes)]
    palette = fitting[0] if fitting else distinct_colours(len(classes))
    return dict(classes=list(classes), palette=[tuple(colour) for colour in palette])


def predict(
    inferencer: BaseInferencer,
    paths: Sequence[Path],
    out: Path,
    score_thr: float = 0.3,
    ids: KnownIds = NO_IDS,
) -> None:
    """Predict on images; save a picture of each, and one json file for all.

    Videos are predicted on by :func:`~glmix_mm.inference.predict_video.predict_video`.

    docs/train.md says what the json holds. Images and categories have the data set's numbers where
    it has them; otherwise they are numbered from 1, images behind the data set's.

    Args:
        inferencer: as :func:`make_inferencer` returns it.
        paths: of the images and videos.
        out: folder.
        score_thr: least score of a detection.
        ids: the data set's numbers.

    Raises:
        UserError: a result cannot be written; or, once all others are done, images were skipped.
    """
    library = inferencer.scope
    results = Results(library, inferencer.model.dataset_meta['classes'], ids)

    def work(path: Path, name: str) -> None:
        if is_video(path) and library == 'mmpretrain':
            raise UserError(f'{path}: is a video; a classifier only takes images')
        if is_video(path):
            predict_video(inferencer, path, out, name, score_thr, results.numbers)
            return
        size = read_image(path).shape[:2]  # raises where the inferencers would stop
        sample, picture = infer(inferencer, str(path), score_thr)
        target = f'{LABEL_MAPS}/{name}.png' if library == 'mmseg' else ''
        if target:
            save_png(out / target, smallest(label_map(sample), len(results.classes)))
        save_png(out / f'{name}.png', picture)
        results.add(sample, path, size, score_thr, target)
        print(out / f'{name}.png', flush=True)

    try:
        for_each(paths, work)
    finally:
        if results.content['images']:
            write_atomically(out / RESULTS, json.dumps(results.content).encode())
            print(out / RESULTS, flush=True)
