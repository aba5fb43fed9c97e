"""What a look at label maps finds: which labels they hold, their sizes, the wrong archive."""

import io
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import UserError
from ..utils.image_files import decode_image, read_bytes
from .checked_loading import check_header
from .statistics import Survey, evenly, in_threads, of_all, read_size, survey_depth

SHOWN = 12  # labels that a note lists
RARE = 0.01  # of the pixels that are not ignored; classes below learn better with weights
HANDFUL = 5  # classes; of so few any may be rare, and not in a sample
FULL_ADE = ('ADE20K_2016_07_26', 'ADE20K_2021_17_01')
FULL_ADE_INDEX = ('index_ade20k.mat', 'index_ade20k.pkl')
ADE_ARCHIVE = (
    'the configs need ADEChallengeData2016.zip (20,210 training and 2,000 validation images, with '
    'label maps in annotations/) from http://sceneparsing.csail.mit.edu'
)


def refuse_other_archives(root: str | None) -> None:
    """Recognise archives of ADE20K that are not the one with label maps of 150 classes.

    Raises:
        UserError: the folder holds one of them.
    """
    folder = Path(root or '.')
    try:
        names = {entry.name for entry in os.scandir(folder)}
    except OSError:
        return
    here = folder.absolute()
    full = names & {*FULL_ADE, *FULL_ADE_INDEX}
    if full or here.name in FULL_ADE or _has_part_maps(folder / 'images' / 'training'):
        raise UserError(
            f'{here}: is the full ADE20K ({min(full) if full else here.name}), whose labels are '
            f'coded in the colours of *_seg.png and are of over 3,000 classes; {ADE_ARCHIVE}'
        )
    if 'annotations' not in names and 'annotations_instance' in names:
        raise UserError(
            f"{here}: holds ADE20K's instance annotations (annotations_instance.tar), whose maps "
            f'number objects; {ADE_ARCHIVE}'
        )
    if 'annotations' not in names and 'testing' in names and 'list.txt' in names:
        raise UserError(
            f"{here}: is ADE20K's release_test.zip, images without label maps; {ADE_ARCHIVE}"
        )


def _has_part_maps(folder: Path) -> bool:
    """Tell whether a folder has ``LETTER/SCENE/*_seg.png``, as the full ADE20K has."""
    return next(folder.glob('*/*/*_seg.png'), None) is not None


def count_labels(path: str) -> Counter:
    """Return the number of pixels of each label in a file of one channel.

    A palette is looked through.

    Raises:
        UserError: it can't be read, has several channels, or mmseg would change its numbers.
    """
    data = read_bytes(path)
    check_header(data, path)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        labels = decode_image(data, path, lambda: np.asarray(Image.open(io.BytesIO(data))))
    if labels.ndim != 2:
        raise UserError(
            f'{path}: has {labels.shape[2]} channels; expected one, holding the index of the class'
        )
    counts = np.bincount(labels.astype(np.uint8).ravel())
    return Counter({label: int(counts[label]) for label in np.flatnonzero(counts).tolist()})


def survey_label_maps(
    pairs: Sequence[tuple[str, str]],
    total: int,
    counts: Counter,
    classes: Sequence[str],
    first: int,
    ignored: int,
    learned: bool,
) -> Survey:
    """Say which labels were seen, what is made of 0, and whether sizes agree.

    Args:
        pairs: paths of images and their label maps: those that were looked at.
        total: number of all of them.
        counts: pixels of each label in these maps.
        classes: of the data set.
        first: label of the first class: 1 with ``reduce_zero_label``, else 0.
        ignored: the label that is ignored.
        learned: whether the label maps are learned from; otherwise they are scored against.
    """
    survey = Survey(images=total)
    looked = of_all(len(pairs), total)
    pixels = counts.total()

    def share(label: int) -> str:
        return f'{100 * counts[label] / pixels:.3g} %'

    rows = [f'{name} {share(label)}' for label, name in enumerate(classes, first) if counts[label]]
    rows.sort(key=lambda row: -float(row.split()[-2]))
    more = f' and {len(rows) - SHOWN} more' if len(rows) > SHOWN else ''
    survey.notes.append(f'labels of {looked} label maps: {", ".join(rows[:SHOWN])}{more}')
    survey.notes.append(_zero(classes, first, share, ignored))
    unseen = [name for label, name in enumerate(classes, first) if not counts[label]]
    if unseen:
        names = ', '.join(unseen[:SHOWN]) + (', ...' if len(unseen) > SHOWN else '')
        note = f'{len(unseen)} of {len(classes)} classes not seen in these: {names}'
        many = len(classes) > HANDFUL and 2 * len(unseen) > len(classes)
        note += _steps(counts, ignored) if many else ''
        survey.notes.append(f'warning: {note}' if many or len(pairs) == total else note)
    if learned and len(pairs) == total and len(rows) == 1 < len(classes):
        survey.problems.append(
            f'the label maps hold one class of {len(classes)}, {rows[0]}, so there is nothing to '
            f'learn; perhaps the other is written as {ignored}, which is ignored'
        )
    passed_over = counts[ignored] + (counts[0] if first else 0)
    if 2 * passed_over > pixels:
        survey.notes.append(
            f'warning: {100 * passed_over / pixels:.3g} % of the pixels are ignored, so '
            'they are never learned; a background needs a class of its own, with a name'
        )
    labelled = pixels - passed_over
    rare = [
        (counts[label] / labelled, name)
        for label, name in enumerate(classes, first)
        if 0 < counts[label] < RARE * labelled
    ]
    if learned and rare:
        listed = ', '.join(f'{name} {100 * share:.2g} %' for share, name in sorted(rare)[:SHOWN])
        more = f' and {len(rare) - SHOWN} more' if len(rare) > SHOWN else ''
        survey.notes.append(
            f'rare, below {100 * RARE:g} % of the labelled pixels: {listed}{more}; custom_hooks = '
            "[dict(type='ClassWeightHook')] in the config weighs classes by their frequency"
        )
    survey_depth(survey, [image for image, _ in pairs])
    _compare_sizes(survey, pairs)
    return survey


def _steps(counts: Mapping[int, int], ignored: int) -> str:
    """Name the labels that were seen, and what they may be instead of numbers of classes."""
    seen = sorted(set(counts) - {ignored})
    step = min((b - a for a, b in pairwise(seen)), default=1)
    text = f'; only {", ".join(map(str, seen[:SHOWN]))}{", ..." if len(seen) > SHOWN else ""} are'
    if step == 1:
        return text
    return (
        f'{text}, as in masks drawn in steps of grey: write the classes as 0, 1, 2, ... instead, '
        'and name them in classes.txt'
    )


def _zero(classes: Sequence[str], first: int, share, ignored: int) -> str:
    """Say what becomes of label 0, and what the other setting would do to it."""
    if first:
        return (
            f'reduce_zero_label=True: label 0 ({share(0)} of the pixels) and {ignored} '
            f'({share(ignored)}) are ignored, 1 is {classes[0]!r}; False would make that 0'
        )
    return (
        f'reduce_zero_label=False: label 0 is {classes[0]!r} ({share(0)} of the pixels), {ignored} '
        f'({share(ignored)}) is ignored; True would ignore 0 and make 1 {classes[0]!r}'
    )


def _compare_sizes(survey: Survey, pairs: Sequence[tuple[str, str]]) -> None:
    def sizes(pair: tuple[str, str]):
        try:
            return read_size(pair[0], decode=True), read_size(pair[1])
        except UserError as error:
            return error

    results = in_threads(sizes, pairs)
    broken = [result for result in results if isinstance(result, UserError)]
    if broken:
        survey.problems.append(
            f'{len(broken)} of the {len(pairs)} images looked at cannot be read, the first: '
            f'{broken[0]}; copy them again, or remove them and their label maps'
        )
    wrong = [
        (pair, found)
        for pair, found in zip(pairs, results, strict=True)
        if not isinstance(found, UserError) and found[0] != found[1]
    ]
    if wrong:
        (image, label_map), ((w, h), (map_w, map_h)) = wrong[0]
        survey.problems.append(
            f'{len(wrong)} of the {len(pairs)} label maps looked at differ from their image in '
            f'size, the first: {os.path.abspath(label_map)} is {map_w} x {map_h}, '
            f'{os.path.basename(image)} {w} x {h}; make both the same (label maps without '
            'interpolation)'
        )


def sample(paths: Sequence[str], limit: int) -> tuple[list[str], Counter]:
    """Return the evenly chosen paths of label maps and the pixels of each label in them.

    Raises:
        UserError: one can't be read.
    """
    chosen = evenly(paths, limit)
    return chosen, sum(in_threads(count_labels, chosen), Counter())
