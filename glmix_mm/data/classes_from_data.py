"""Fits a config to a data set of one's own: where its files are, and which classes it has.

Where the files do not lie as the config says, they are looked for in the layouts that exporters and
mmseg's users have. Classes come from the ``categories`` of the training annotations (detection),
from ``classes.txt`` beside the folders, a name a line in the order of the labels (segmentation), or
from the names of the folders of images (classification).
"""

import glob
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS

from ..errors import UserError
from ..utils.nested import SPLITS, nested_dicts, unwrap
from ..utils.palette import distinct_colours
from ..utils.pictures import ENDINGS
from .checked_loading import IGNORED
from .coco_checks import read_coco
from .dataset_checks import heads_classes
from .formats import describe_format
from .ignored_label import share_ignored_label
from .label_statistics import refuse_other_archives, sample
from .paths import Place, read_lines, some, with_slashes
from .statistics import of_all

CLASSES = 'classes.txt'
SHOWN = 20  # classes that a note lists
# What stands for {} in the paths below.
SPLIT_NAMES = {
    'train': ('train', 'training', 'Train'),
    'val': ('val', 'valid', 'validation', 'Validation', 'test'),
}
ANNOTATIONS = (
    'annotations/instances_{}2017.json',
    'annotations/instances_{}.json',
    'annotations/{}.json',
    '{}/_annotations.coco.json',
    '{}.json',
)
IMAGES = ('{}2017', 'images/{}', '{}', 'images', '.')
PAIRS = (  # of folders of images and of label maps
    ('images/{}', 'annotations/{}'),
    ('img_dir/{}', 'ann_dir/{}'),
    ('images/{}', 'labels/{}'),
    ('images/{}', 'masks/{}'),
    ('{}/images', '{}/labels'),
    ('{}/images', '{}/masks'),
)
ALL_IMAGES = ('images', 'img_dir', 'JPEGImages')  # folders that are no class's
TRIED = 5  # images whose label map is looked for, to learn how label maps are named
LABEL_MAPS_READ = 2000  # to find out how many labels there are
DETECTION = 'retinanet_glnet_4g_1x'  # configs that suit any such data
INSTANCES = 'maskrcnn_glnet_4g_1x'
SEGMENTATION = 'semfpn_glnet_4g_80k'
CLASSIFICATION = '_base_/finetune/classifier'
FEW = 2000  # images; up to so many, the recipes above would end before they have learned
FOR_FEW = {
    DETECTION: '_base_/finetune/detector',
    INSTANCES: '_base_/finetune/instances',
    SEGMENTATION: '_base_/finetune/segmentor',
}


def classes_from_data(cfg: Config) -> list[str]:
    """Set paths, classes and every ``num_classes`` of a config to those of its data set.

    Args:
        cfg: a detector's or segmentor's config; its ``data_root`` is the data set's folder.

    Returns:
        What was found, to be told.

    Raises:
        UserError: there are no such files, no names, or labels that do not go with the names.
    """
    scope = cfg.get('default_scope')
    if scope == 'mmdet':
        classes, notes = _use_coco(cfg)
    elif scope == 'mmseg':
        classes, notes = _use_label_maps(cfg)
    elif scope == 'mmpretrain':
        classes, notes = _use_image_folders(cfg)
    else:
        raise UserError(
            f'--classes-from-data: {cfg.filename} is for {scope}; only the classes of detectors '
            "(COCO's json), segmentors (label maps) and classifiers (folders of images) are read"
        )
    set_classes(cfg, classes)
    return [*notes, f'{len(classes)} classes: {some(classes, SHOWN)}']


def set_classes(cfg: Config, classes: Sequence[str]) -> None:
    """Set the classes of every data set, and ``num_classes`` of every head.

    Raises:
        UserError: a loss weighs another number of classes.
    """
    palette = [tuple(colour) for colour in distinct_colours(len(classes))]
    for dataset in _datasets(cfg):
        dataset['metainfo'] = dict(classes=tuple(classes), palette=palette)
    for settings in nested_dicts(cfg.model):
        if 'num_stuff_classes' in settings:  # what is read here are things
            settings.update(num_things_classes=len(classes), num_stuff_classes=0)
    keys = [key for key, _ in heads_classes(cfg.model, 'model')]
    cfg.merge_from_dict({key: len(classes) for key in keys})
    for settings in nested_dicts(cfg.model):
        weights = settings.get('class_weight')
        if isinstance(weights, (list, tuple)):
            settings['class_weight'] = _fit_weights(weights, len(classes), settings, cfg)
    for preprocessor in (cfg.get('data_preprocessor'), cfg.model.get('data_preprocessor')):
        if preprocessor and 'num_classes' in preprocessor:
            preprocessor['num_classes'] = len(classes)
    if cfg.get('default_scope') == 'mmpretrain':  # detectors' assigners have another topk
        _count_in_metrics(cfg, len(classes))


def _count_in_metrics(cfg: Config, count: int) -> None:
    """Let losses and metrics count so many classes, and no rank beyond them."""
    evaluators = [cfg.get(f'{split}_evaluator') for split in SPLITS]
    for settings in nested_dicts([cfg.model, *evaluators]):
        topk = settings.get('topk', 1)
        topk = topk if isinstance(topk, (list, tuple)) else [topk]
        if max(topk) > count:
            settings['topk'] = tuple(k for k in topk if k <= count) or (1,)
        if 'num_classes' in settings:
            settings['num_classes'] = count


def _fit_weights(weights: Sequence[float], count: int, settings: dict, cfg: Config) -> list[float]:
    """Return the weights of a loss for so many classes, and its own of the background behind.

    Raises:
        UserError: they tell classes apart, and there are more or fewer of them.
    """
    # Detectors' softmax losses weigh the background as well.
    if len(weights) - count in (0, 1):
        return list(weights)
    first, *others, last = weights
    if set(others) <= {first}:
        return [first] * count + [last]
    raise UserError(
        f'{settings.get("type")}.class_weight of {cfg.filename} has {len(weights)} '
        f'weights, but the data have {count} classes; set as many, or None'
    )


def suiting_config(folder: Path) -> str:
    """Return the name of a config for the data set in a folder, and for its number of images.

    Raises:
        UserError: the folder holds neither of the layouts known here.
    """
    found = _find_annotations(folder, 'train')
    if found:
        content = read_coco(str(folder / found[0]), Place('train', str(folder)))
        boxes = content.get('annotations') or []
        masks = boxes and all(box.get('segmentation') for box in boxes)
        name = INSTANCES if masks else DETECTION
        return FOR_FEW[name] if len(content['images']) <= FEW else name
    other, pair = describe_format(folder), _find_pair(folder, 'train')
    if pair and "YOLO's" not in other:
        images = islice((folder / pair[0]).rglob('*'), FEW + 1)
        return FOR_FEW[SEGMENTATION] if len(list(images)) <= FEW else SEGMENTATION
    if other:
        raise UserError(f'{folder.absolute()}: {other}')
    if _find_folders(folder, 'train'):
        return CLASSIFICATION
    refuse_other_archives(str(folder))
    if _are_unsplit(folder):
        raise _expect_folders(folder, 'train')
    ways = [*ANNOTATIONS, *map(' and '.join, PAIRS), '{}/CLASS/IMAGE']
    expected = _expected('train', ways)
    raise UserError(f'{folder.absolute()}: {expected}')


def _datasets(cfg: Config, *splits: str) -> Iterator[ConfigDict]:
    for split in splits or SPLITS:
        loader = cfg.get(f'{split}_dataloader')
        yield from unwrap(loader.dataset) if loader else ()


def _root(cfg: Config) -> Path:
    return Path(next(_datasets(cfg, 'train')).get('data_root') or '.')


def _own_root(cfg: Config, dataset: ConfigDict) -> Path:
    return Path(dataset.get('data_root') or _root(cfg))


def _require_same(first: Path, classes: Sequence[str], root: Path, others: Sequence[str]) -> None:
    """Check that two training sets have the same classes.

    Raises:
        UserError: they have not.
    """
    if list(classes) != list(others):
        raise UserError(
            f'{root.absolute()}: its classes are {some(others)}, but those of {first.absolute()} '
            f'are {some(classes)}; data sets that are trained on together need the same names'
        )


def _use_coco(cfg: Config) -> tuple[list[str], list[str]]:
    """Set the data sets' and evaluators' paths; return the categories' names, and notes."""
    files: dict[str, list[str]] = {}
    for split in SPLITS:
        for dataset in _datasets(cfg, split):
            _require_coco(split, dataset)
            root = _own_root(cfg, dataset)
            files.setdefault(split, []).append(str(root / _place_coco(root, split, dataset)))
        evaluators = cfg.get(f'{split}_evaluator') or []
        for evaluator in [evaluators] if isinstance(evaluators, dict) else evaluators:
            if evaluator.get('ann_file'):
                evaluator['ann_file'] = files[split][-1]
    notes = [f'Classes from {" and ".join(dict.fromkeys(files["train"]))}']
    names = {path: _category_names(path, notes) for path in files['train']}
    first, classes = next(iter(names.items()))
    for path, others in names.items():
        _require_same(Path(first), sorted(classes), Path(path), sorted(others))
    return classes, notes


def _category_names(path: str, notes: list[str]) -> list[str]:
    """Return the names of an annotation file's categories; add to the notes what is left out."""
    content = read_coco(path, Place('train', os.path.dirname(path)))
    categories, groups = content['categories'], _groups(content)
    if groups:
        notes.append(f'{some(groups)} only groups other categories and has no box, so no class')
        categories = [category for category in categories if category['name'] not in groups]
    if not categories:
        raise UserError(f"{path}: its 'categories' are empty; expected a name for each class")
    return [category['name'] for category in categories]


def _groups(content: Mapping) -> list[str]:
    """Return the categories that others name as theirs and no annotation has (Roboflow's first)."""
    used = {box.get('category_id') for box in content.get('annotations') or []}
    above = {
        str(category.get('supercategory'))
        for category in content['categories']
        if category.get('supercategory') != category['name']
    }
    return [
        category['name']
        for category in content['categories']
        if category['name'] in above and category.get('id') not in used
    ]


def _require_coco(split: str, dataset: ConfigDict) -> None:
    """Check that a data set reads COCO's json, before its files are looked for.

    Raises:
        UserError: it reads something else; the message says what.
    """
    from mmdet.datasets import CocoDataset, CocoPanopticDataset, XMLDataset

    kind = DATASETS.get(f'mmdet.{dataset.type}') or DATASETS.get(dataset.type)
    if kind is None:  # which is said when it is built
        return
    panoptic = issubclass(kind, CocoPanopticDataset)
    if issubclass(kind, CocoDataset) and not panoptic:
        return
    reads = "XML files (Pascal VOC's)" if issubclass(kind, XMLDataset) else 'another format'
    reads = "COCO's panoptic json" if panoptic else reads
    convert = (
        "convert them with mmdet's tools/dataset_converters/pascal_voc.py --out-format coco"
        if issubclass(kind, XMLDataset)
        else "write the annotations as COCO's json"
    )
    raise UserError(
        f'--classes-from-data: the {split} data set is a {dataset.type}, which reads {reads}; '
        f"only COCO's instances are read here: {convert}, and set type='CocoDataset'; or leave "
        '--classes-from-data out and set metainfo and num_classes'
    )


def _place_coco(root: Path, split: str, dataset: ConfigDict) -> str:
    """Set where a data set's annotations and images are; return its annotation file."""
    prefix = dataset.get('data_prefix') or {}
    named = root / (dataset.get('ann_file') or ''), root / (prefix.get('img') or '')
    if not (named[0].is_file() and named[1].is_dir() and any(named[1].iterdir())):
        found = _find_annotations(root, split)
        if found is None:
            other = describe_format(root) if split == 'train' else ''
            expected = other or _expected(split, ANNOTATIONS)
            raise UserError(f'--classes-from-data: {root.absolute()}: {expected}')
        dataset['ann_file'], images = found
        dataset['data_prefix'] = dict(img=images)
    return dataset['ann_file']


def _find_annotations(root: Path, split: str) -> tuple[str, str] | None:
    """Return the annotation file of a split and the folder of its images, below the root."""
    for path in _candidates(split, ANNOTATIONS):
        if (root / path).is_file():
            return path, _find_images(root, split, path)
    return None


def _find_images(root: Path, split: str, path: str) -> str:
    """Return the folder that has the first image that an annotation file lists."""
    images = read_coco(str(root / path), Place(split, str(root)))['images']
    folders = [os.path.dirname(path), *_candidates(split, IMAGES)]
    for folder in folders:
        if images and (root / folder / images[0]['file_name']).is_file():
            return folder
    fix = with_slashes(str(root / path), images[0]['file_name'] if images else '')
    raise UserError(
        f'{root / path}: its first image, {images[0]["file_name"] if images else "none"}, is in '
        f'none of {some(dict.fromkeys(folders), 12)} of {root.absolute()}; '
        + (fix or 'put the images into one of them')
    )


def _use_label_maps(cfg: Config) -> tuple[list[str], list[str]]:
    """Set the data sets' type and paths; return the names of their classes, and notes."""
    shared = share_ignored_label(cfg)
    for split in SPLITS:
        for dataset in _datasets(cfg, split):
            root = _own_root(cfg, dataset)
            refuse_other_archives(str(root))
            _place_label_maps(root, split, dataset)
    paths, roots = [], {}
    for train in _datasets(cfg, 'train'):
        root = _own_root(cfg, train)
        folder = root / train.data_prefix['seg_map_path']
        roots.setdefault(root, folder)
        paths += map(str, folder.rglob(f'*{glob.escape(train.seg_map_suffix)}'))
    paths = sorted(set(paths))
    chosen, counts = sample(paths, LABEL_MAPS_READ)
    looked, ignored = of_all(len(chosen), len(paths)), train.get('ignore_index', IGNORED)
    found = {root: _name_labels(root, set(counts), ignored, looked) for root in roots}
    root, (classes, reduce) = next(iter(found.items()))
    folder = roots[root]
    for other, (names, _) in found.items():
        _require_same(root, classes, other, names)
    for dataset in _datasets(cfg):
        dataset['reduce_zero_label'] = reduce
    # mmseg's pipelines repeat the setting, and insist that it is the data set's.
    loaders = [cfg.get(f'{split}_dataloader') for split in SPLITS]
    for step in nested_dicts([*filter(None, loaders), cfg.get('tta_pipeline')]):
        if step.get('type') == 'LoadAnnotations':
            step.pop('reduce_zero_label', None)
    _set_outputs(cfg, classes)
    zero = '0 is ignored, 1 is the first class' if reduce else '0 is the first class'
    source = root / CLASSES if (root / CLASSES).is_file() else f'the labels of {folder}'
    return classes, [*shared, f'Classes from {source} ({looked} label maps read); label {zero}']


def _set_outputs(cfg: Config, classes: Sequence[str]) -> None:
    """Set the number of outputs of mmseg's heads that state it besides ``num_classes``.

    Raises:
        UserError: a head has one output, which tells two classes apart, and there are not two.
    """
    for head in nested_dicts(cfg.model):
        outputs, count = head.get('out_channels'), head.get('num_classes')
        if outputs == 1 and count and len(classes) != 2:
            raise UserError(
                f'{cfg.filename}: a {head.get("type")} has out_channels=1, for two classes, but '
                f'the data have {len(classes)} ({some(classes)}); leave out_channels out, and '
                'use_sigmoid of its loss'
            )
        if outputs and outputs not in (1, len(classes)) and outputs == count:
            head['out_channels'] = len(classes)


def _place_label_maps(root: Path, split: str, dataset: ConfigDict) -> None:
    prefix = dataset.get('data_prefix') or {}
    found = [prefix.get('img_path'), prefix.get('seg_map_path')]
    if not all(part and (root / part).is_dir() for part in found):
        found = _find_pair(root, split)
        if not found:
            expected = _expected(split, [*map(' and '.join, PAIRS)])
            raise UserError(f'--classes-from-data: {root.absolute()}: {expected}')
    images, labels = found
    dataset['type'] = 'BaseSegDataset'
    dataset['data_prefix'] = dict(img_path=images, seg_map_path=labels)
    dataset['img_suffix'], dataset['seg_map_suffix'] = _suffixes(root / images, root / labels)


def _find_pair(root: Path, split: str) -> tuple[str, str] | None:
    """Return the folders of a split's images and label maps, below the root."""
    for images, labels in PAIRS:
        for name in SPLIT_NAMES['train' if split == 'train' else 'val']:
            pair = images.format(name), labels.format(name)
            if all((root / part).is_dir() for part in pair):
                return pair
    return None


def _suffixes(images: Path, labels: Path) -> tuple[str, str]:
    """Return the endings of the images and of their label maps.

    Raises:
        UserError: no label map begins with the name of an image.
    """
    names = sorted(str(path.relative_to(images)) for path in images.rglob('*') if path.is_file())
    maps = sorted(str(path.relative_to(labels)) for path in labels.rglob('*') if path.is_file())
    endings = Counter(os.path.splitext(name)[1] for name in names)
    if not endings:
        raise UserError(f'{images.absolute()}: holds no images')
    ending = endings.most_common(1)[0][0]
    stems = [name.removesuffix(ending) for name in names if name.endswith(ending)]
    for stem in stems[:TRIED]:  # the first may lack its label map, which is told later
        for name in maps:
            rest = name.removeprefix(stem)
            if rest != name and not rest[0].isalnum():
                return ending, rest
    raise UserError(
        f'{labels.absolute()}: no label map begins with {stems[0]}, the name of the first image in '
        f'{images.absolute()}; give label maps the names of their images'
    )


def _name_labels(root: Path, found: set[int], ignored: int, looked: str) -> tuple[list[str], bool]:
    """Return the names of the classes, and whether label 0 is to be ignored.

    Args:
        root: the data set's folder.
        found: the labels in the label maps.
        ignored: the one that the config ignores.
        looked: at how many label maps, for the messages.

    Raises:
        UserError: the labels do not go with the names, or are of fewer than two classes.
    """
    path, labels = root / CLASSES, sorted(found - {ignored})
    top = labels[-1] if labels else 0
    if path.is_file():
        # Some editors begin a file with a byte order mark.
        names = [line.removeprefix('\ufeff') for line in read_lines(str(path))]
        if top > len(names):
            raise UserError(
                f'{path.absolute()}: names {len(names)} classes, but the label maps ({looked} '
                f'read) go up to {top}; expected 0 to {len(names) - 1}, or 1 to {len(names)} with '
                '0 ignored'
            )
        if len(set(names)) < len(names):
            raise UserError(f'{path.absolute()}: names a class twice; expected a name a line')
    else:
        names = [f'label {label}' for label in range(top + 1)]
    if len(names) < 2:
        raise UserError(
            f'{root.absolute()}: the label maps ({looked} read) hold {some(labels) or "nothing"} '
            f'and perhaps {ignored}, which is ignored; expected two classes or more, background '
            'included: write them as 0, 1, ..., or name them in classes.txt'
        )
    return names, top == len(names)


def _use_image_folders(cfg: Config) -> tuple[list[str], list[str]]:
    """Set the data sets' type and folders, and what else counts classes; return these, and notes.

    mmpretrain numbers classes in the order of the folders' names.
    """
    found = {}
    for split in SPLITS:
        for dataset in _datasets(cfg, split):
            root = _own_root(cfg, dataset)
            folder = _find_folders(root, split)
            if folder is None:
                raise _expect_folders(root, split)
            if dataset['type'] == 'ImageNet':  # which asks for ImageNet's own splits
                dataset['type'] = 'CustomDataset'
                dataset.pop('split', None)
            dataset.update(data_prefix=folder, ann_file='', extensions=ENDINGS)
            if split == 'train':
                folder = root / folder
                found[folder] = sorted(path.name for path in folder.iterdir() if path.is_dir())
    folder, classes = next(iter(found.items()))
    for other, names in found.items():
        _require_same(folder, classes, other, names)
    return classes, [f'Classes from the folders of {folder}']


def _find_folders(root: Path, split: str) -> str | None:
    """Return the folder of a split, below the root, that holds folders of images, one a class."""
    for name in SPLIT_NAMES['train' if split == 'train' else 'val']:
        if len(_class_folders(root / name)) > 1:
            return name
    return None


def _class_folders(folder: Path) -> list[str]:
    """Return the first few folders in a folder that hold images; none if one is for all images."""
    if not folder.is_dir() or any((folder / name).is_dir() for name in ALL_IMAGES):
        return []
    inside = (path for path in sorted(folder.iterdir()) if path.is_dir())
    return list(islice((path.name for path in inside if _has_image(path)), TRIED))


def _has_image(folder: Path) -> bool:
    return any(path.suffix.lower() in ENDINGS for path in folder.rglob('*'))


def _are_unsplit(root: Path) -> bool:
    """Tell whether a folder holds folders of images that are no splits, so perhaps classes."""
    names = _class_folders(root)
    starts = ('train', 'val', 'test')
    return len(names) > 1 and not any(name.lower().startswith(starts) for name in names)


def _expect_folders(root: Path, split: str) -> UserError:
    """Return the error for a classification set without a folder for the split."""
    names = _class_folders(root)
    if not _are_unsplit(root):
        return UserError(
            f'--classes-from-data: {root.absolute()}: {_expected(split, ["{}/CLASS/IMAGE"])}'
        )
    return UserError(
        f'{root.absolute()}: its images lie in folders of classes ({some(names)}), but not split; '
        'move a part of each class, such as a fifth, to val/CLASS and the rest to train/CLASS'
    )


def _candidates(split: str, patterns: Sequence[str]) -> list[str]:
    names = SPLIT_NAMES['train' if split == 'train' else 'val']
    return [pattern.format(name) for pattern in patterns for name in names]


def _expected(split: str, patterns: Sequence[str]) -> str:
    names = SPLIT_NAMES['train' if split == 'train' else 'val']
    names = ' or '.join(name for name in names if name.islower())
    return f'nothing found for {split}; expected {"; ".join(patterns)} ({{}} being {names})'
