"""Fits a config to a data set of your own: where its files are, and which classes it has.

If the files are not where the config says, they are searched in the layouts of exporters and of
mmseg's users. Classes come from one of these:

- detection: ``categories`` of the training annotations
- segmentation: ``classes.txt`` beside the folders, one name per line in the order of the labels
- classification: the names of the folders of images
"""

import glob
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS

from ..config.classes import Found, datasets_of, use_found
from ..config.ignored_label import IGNORED
from ..errors import UserError
from ..utils.messages import some
from ..utils.nested import SPLITS
from ..utils.pictures import ENDINGS
from .class_file import read_class_file
from .coco_checks import read_coco
from .formats import describe_contents, describe_format
from .label_statistics import refuse_other_archives, sample
from .paths import Place, with_slashes
from .statistics import of_all

CLASSES = 'classes.txt'
SHOWN = 20  # classes that a note lists
# What replaces {} in the paths below.
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
UNSPLIT = (
    ('images', 'masks'),
    ('images', 'labels'),
    ('images', 'annotations'),
    ('JPEGImages', 'SegmentationClass'),
)
ALL_IMAGES = ('images', 'img_dir', 'JPEGImages', 'leftImg8bit')  # folders that are no class's
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

    Returns:
        What was found, to be told.

    Raises:
        UserError: as :func:`read_classes` and :func:`~glmix_mm.config.classes.use_found`.
    """
    return use_found(cfg, read_classes(cfg))


def read_classes(cfg: Config, class_file: str | None = None) -> Found:
    """Find the files and the classes of a config's data set; the config stays as it is.

    Args:
        cfg: a detector's, segmentor's or classifier's config; its ``data_root`` is the data set's
            folder.
        class_file: names the classes of label maps, in place of ``classes.txt``.

    Raises:
        UserError: there are no such files, no names, or labels that do not go with the names.
    """
    readers = dict(mmdet=_read_coco, mmpretrain=_read_image_folders)
    scope = cfg.get('default_scope')
    if scope not in (*readers, 'mmseg'):
        raise UserError(
            f'--classes-from-data: {cfg.filename} is for {scope}; only the classes of detectors '
            "(COCO's json), segmentors (label maps) and classifiers (folders of images) are read"
        )
    if class_file and scope != 'mmseg':
        raise UserError(
            f'--classes {class_file}: names the classes of label maps, but {cfg.filename} is for '
            f'{scope}, whose data name their own; use --classes-from-data'
        )
    found = _read_label_maps(cfg, class_file) if scope == 'mmseg' else readers[scope](cfg)
    count = f'{len(found.classes)} classes: {some(found.classes, SHOWN)}'
    return replace(found, notes=[*found.notes, count])


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
    unsplit = next((p for p in UNSPLIT if all((folder / part).is_dir() for part in p)), None)
    if unsplit:
        expected = (
            f'{" and ".join(unsplit)} are not split; move a part of both, such as a fifth, to '
            'images/val and masks/val, and the rest to images/train and masks/train'
        )
    raise UserError(f'{folder.absolute()} {describe_contents(folder)}: {expected}')


def _root(cfg: Config) -> Path:
    return Path(next(datasets_of(cfg, 'train')).get('data_root') or '.')


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


def _read_coco(cfg: Config) -> Found:
    """Find the annotation files and images of all splits, and the categories' names."""
    settings: list[dict] = []
    files: dict[str, list[str]] = {}
    for split in SPLITS:
        for dataset in datasets_of(cfg, split):
            _require_coco(split, dataset)
            root = _own_root(cfg, dataset)
            settings.append(_place_coco(root, split, dataset))
            files.setdefault(split, []).append(str(root / settings[-1]['ann_file']))
    notes = [f'Classes from {" and ".join(dict.fromkeys(files["train"]))}']
    names = {path: _category_names(path, notes) for path in files['train']}
    first, classes = next(iter(names.items()))
    for path, others in names.items():
        _require_same(Path(first), sorted(classes), Path(path), sorted(others))
    return Found(classes, notes, settings, {split: paths[-1] for split, paths in files.items()})


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


def _place_coco(root: Path, split: str, dataset: ConfigDict) -> dict:
    """Return where a data set's annotations and images are."""
    prefix = dataset.get('data_prefix') or {}
    named = root / (dataset.get('ann_file') or ''), root / (prefix.get('img') or '')
    if named[0].is_file() and named[1].is_dir() and any(named[1].iterdir()):
        return dict(ann_file=dataset['ann_file'])
    found = _find_annotations(root, split)
    if found is None:
        other = describe_format(root) if split == 'train' else ''
        expected = other or _expected(split, ANNOTATIONS)
        raise UserError(f'--classes-from-data: {root.absolute()}: {expected}')
    return dict(ann_file=found[0], data_prefix=dict(img=found[1]))


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
    name = os.path.basename(images[0]['file_name']) if images else ''
    near = [folder for folder in folders if name and (root / folder / name).is_file()]
    if near and not fix:
        fix = f'{near[0] or "."} has a {name}: take the folders out of each file_name'
    raise UserError(
        f'{root / path}: its first image, {images[0]["file_name"] if images else "none"}, is in '
        f'none of {some(dict.fromkeys(folders), 12)} of {root.absolute()}; '
        + (fix or 'put the images into one of them')
    )


def _read_label_maps(cfg: Config, class_file: str | None) -> Found:
    """Find the folders of images and label maps of all splits, and the names of their classes."""
    settings, paths, folders = [], [], {}
    for split in SPLITS:
        for dataset in datasets_of(cfg, split):
            root = _own_root(cfg, dataset)
            refuse_other_archives(str(root))
            own = _place_label_maps(root, split, dataset)
            settings.append(own)
            if split == 'train':
                folder = root / own['data_prefix']['seg_map_path']
                folders.setdefault(root, folder)
                paths += map(str, folder.rglob(f'*{glob.escape(own["seg_map_suffix"])}'))
                ignored = dataset.get('ignore_index', IGNORED)
    paths = sorted(set(paths))
    chosen, counts = sample(paths, LABEL_MAPS_READ)
    looked = of_all(len(chosen), len(paths))
    files = {root: Path(class_file) if class_file else root / CLASSES for root in folders}
    if class_file and not Path(class_file).is_file():
        raise UserError(f'--classes {class_file}: no such file ({Path(class_file).absolute()})')
    named = {
        root: read_class_file(path) if path.is_file() else ([], None)
        for root, path in files.items()
    }
    found = {
        root: _name_labels(files[root], names, set(counts), ignored, looked)
        for root, (names, _) in named.items()
    }
    root, (classes, reduce) = next(iter(found.items()))
    for other, (names, _) in found.items():
        _require_same(root, classes, other, names)
    zero = '0 is ignored, 1 is the first class' if reduce else '0 is the first class'
    source = files[root] if named[root][0] else f'the labels of {folders[root]}'
    notes = [f'Classes from {source} ({looked} label maps read); label {zero}']
    settings = [dict(own, reduce_zero_label=reduce) for own in settings]
    return Found(classes, notes, settings, palette=named[root][1])


def _place_label_maps(root: Path, split: str, dataset: ConfigDict) -> dict:
    prefix = dataset.get('data_prefix') or {}
    found = [prefix.get('img_path'), prefix.get('seg_map_path')]
    if not all(part and (root / part).is_dir() for part in found):
        found = _find_pair(root, split)
        if not found:
            expected = _expected(split, [*map(' and '.join, PAIRS)])
            raise UserError(f'--classes-from-data: {root.absolute()}: {expected}')
    images, labels = found
    endings = _suffixes(root / images, root / labels)
    return dict(
        type='BaseSegDataset',
        data_prefix=dict(img_path=images, seg_map_path=labels),
        img_suffix=endings[0],
        seg_map_suffix=endings[1],
    )


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


def _name_labels(
    path: Path, names: list[str], found: set[int], ignored: int, looked: str
) -> tuple[list[str], bool]:
    """Return the names of the classes, and whether label 0 is to be ignored.

    Args:
        path: of the file with the names.
        names: in it; none where it is not there.
        found: the labels in the label maps.
        ignored: the one that the config ignores.
        looked: at how many label maps, for the messages.

    Raises:
        UserError: the labels do not go with the names, or are of fewer than two classes.
    """
    labels = sorted(found - {ignored})
    top = labels[-1] if labels else 0
    if names and top > len(names):
        raise UserError(
            f'{path.absolute()}: names {len(names)} classes, but the label maps ({looked} read) go '
            f'up to {top}; expected 0 to {len(names) - 1}, or 1 to {len(names)} with 0 ignored'
        )
    names = names or [f'label {label}' for label in range(top + 1)]
    if len(names) < 2:
        raise UserError(
            f'{path.parent.absolute()}: the label maps ({looked} read) hold '
            f'{some(labels) or "nothing"} and perhaps {ignored}, which is ignored; expected two '
            'classes or more, background included: write them as 0, 1, ..., or name them in '
            'classes.txt'
        )
    return names, top == len(names)


def _read_image_folders(cfg: Config) -> Found:
    """Find the class folders of all splits; mmpretrain numbers classes in the order of names."""
    settings, found = [], {}
    for split in SPLITS:
        for dataset in datasets_of(cfg, split):
            root = _own_root(cfg, dataset)
            name = _find_folders(root, split)
            if name is None:
                raise _expect_folders(root, split)
            # An ImageNet would ask for ImageNet's own splits.
            kind = 'CustomDataset' if dataset['type'] == 'ImageNet' else dataset['type']
            settings.append(dict(type=kind, data_prefix=name, ann_file='', extensions=ENDINGS))
            if split == 'train':
                folder = root / name
                found[folder] = sorted(path.name for path in folder.iterdir() if path.is_dir())
    folder, classes = next(iter(found.items()))
    for other, names in found.items():
        _require_same(folder, classes, other, names)
    return Found(classes, [f'Classes from the folders of {folder}'], settings)


def _find_folders(root: Path, split: str) -> str | None:
    """Return the folder of a split, below the root, that holds folders of images, one per class."""
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
        f'{root.absolute()}: its images are in folders of classes ({some(names)}), but not split; '
        'move a part of each class, such as a fifth, to val/CLASS and the rest to train/CLASS'
    )


def _candidates(split: str, patterns: Sequence[str]) -> list[str]:
    names = SPLIT_NAMES['train' if split == 'train' else 'val']
    return [pattern.format(name) for pattern in patterns for name in names]


def _expected(split: str, patterns: Sequence[str]) -> str:
    names = SPLIT_NAMES['train' if split == 'train' else 'val']
    names = ' or '.join(name for name in names if name.islower())
    return f'nothing found for {split}; expected {"; ".join(patterns)} ({{}} being {names})'
