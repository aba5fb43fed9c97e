"""What mmdet makes of the annotations in a COCO json: which boxes, masks and images it uses."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..utils.messages import some
from .coco_entries import is_pointless
from .statistics import Survey

BEYOND = 1  # px that a box may reach beyond its image before it is told
CROWD, IGNORE, AREA = "marked 'iscrowd'", "marked 'ignore'", 'of area 0'
OUTSIDE = 'outside its image or without extent'
NARROW = 'narrower or lower than 1 px'
CAUSES = {  # what to do where most boxes are lost for one reason
    CROWD: "tools that draw with a brush, such as CVAT's, write iscrowd 1: set it to 0",
    IGNORE: "set 'ignore' to 0",
    AREA: "fill 'area' from the box: width times height",
    OUTSIDE: 'do they belong to images of another size?',
    NARROW: 'are they in another unit than pixels?',
}
FRACTIONS = 'all numbers are at most 1, so they are fractions of the image: write pixels'
CORNERS = (
    'are they written as two corners? COCO has x, y of the upper left corner, width and height'
)


@dataclass
class Annotations:
    """What the annotations of one file hold, by category.

    Attributes:
        sizes: width and height of each image, px, by its id.
        present: ids of the images that have an annotation of a category, whatever it is.
        usable: number of the boxes that mmdet uses, by image id, for each category.
        dropped: number of the boxes that mmdet leaves out, by reason, for each category.
        crowds: number of the usable boxes that are crowds, which nothing is learned from.
        scored: number of the boxes that COCO scores, which passes over crowds alone.
        largest: largest number in the boxes.
        beyond: number of the boxes that reach beyond their image.
        pointless: number of the masks whose polygons have too few points.
    """

    sizes: dict = field(default_factory=dict)
    present: dict[str, set] = field(default_factory=dict)
    usable: dict[str, Counter] = field(default_factory=dict)
    dropped: dict[str, Counter] = field(default_factory=dict)
    crowds: dict[str, Counter] = field(default_factory=dict)
    scored: dict[str, Counter] = field(default_factory=dict)
    largest: dict[str, float] = field(default_factory=dict)
    beyond: Counter = field(default_factory=Counter)
    pointless: Counter = field(default_factory=Counter)


def read_annotations(content: Mapping, names: Mapping, sound_masks: bool) -> Annotations:
    """Go through all annotations of a file once.

    Args:
        content: the file; its images and boxes are as COCO has them.
        names: of the categories, by id.
        sound_masks: whether its masks are as well.
    """
    found = Annotations(
        {image['id']: (image['width'], image['height']) for image in content['images']}
    )
    for name in names.values():
        found.present[name], found.usable[name] = set(), Counter()
        found.dropped[name], found.crowds[name], found.scored[name] = (Counter() for _ in range(3))
        found.largest[name] = 0
    for box in content.get('annotations') or ():
        name, image, bbox = names[box['category_id']], box['image_id'], box['bbox']
        size = found.sizes[image]
        found.present[name].add(image)
        found.largest[name] = max(found.largest[name], *bbox)
        reason, crowd = _reason_to_drop(box, size), box.get('iscrowd')
        if not crowd and reason in ('', AREA, IGNORE):
            found.scored[name][image] += 1
        if reason:
            found.dropped[name][reason] += 1
            continue
        found.usable[name][image] += 1
        if crowd:
            found.crowds[name][image] += 1
        if _reaches_beyond(bbox, size):
            found.beyond[name] += 1
        if sound_masks and is_pointless(box.get('segmentation') or {}):
            found.pointless[name] += 1
    return found


def _reason_to_drop(box: Mapping, size: tuple[int, int]) -> str:
    """Return why mmdet's ``CocoDataset.parse_data_info`` leaves an annotation out, or ''."""
    if box.get('ignore'):
        return IGNORE
    x, y, width, height = box['bbox']
    inside = min(x + width, size[0]) - max(x, 0), min(y + height, size[1]) - max(y, 0)
    if min(inside) <= 0:
        return OUTSIDE
    if width < 1 or height < 1:
        return NARROW
    if box['area'] <= 0:
        return AREA
    return ''


def _reaches_beyond(bbox: Sequence[float], size: tuple[int, int]) -> bool:
    x, y, width, height = bbox
    far = x + width > size[0] + BEYOND or y + height > size[1] + BEYOND
    return far or min(x, y) < -BEYOND


def survey_annotations(
    path: str,
    found: Annotations,
    classes: Sequence[str],
    filters: Mapping | None,
    key: str,
    with_masks: bool,
    learned: bool = True,
) -> Survey:
    """Say what mmdet uses of a file's images and annotations.

    Args:
        path: the file.
        found: what it holds.
        classes: of the data set.
        filters: the data set's ``filter_cfg``; None for one that keeps all images (testing).
        key: full key of the data set in the config.
        with_masks: whether the data set's pipeline loads masks.
        learned: whether the boxes are learned from; otherwise they are scored against.
    """
    survey = Survey()
    used: Counter = Counter()
    for name in classes:
        used.update(found.usable[name])
    dropped = _total(found.dropped, classes)
    if dropped:
        survey.notes.append(
            f'{dropped.total()} of {used.total() + dropped.total()} boxes are left out by mmdet: '
            + _listing(dropped)
        )
    beyond = sum(found.beyond[name] for name in classes)
    if beyond:
        survey.notes.append(f'boxes that reach more than {BEYOND} px beyond their image: {beyond}')
    pointless = sum(found.pointless[name] for name in classes)
    if with_masks and pointless:
        survey.notes.append(
            'objects that mmdet ignores, as their polygons have fewer than three points: '
            f'{pointless}'
        )
    whole = {name: found.usable[name] - found.crowds[name] for name in classes}
    together: Counter = Counter()
    for boxes in whole.values():
        together.update(boxes)
    survey.most = max(together.values(), default=0)
    survey.of_one = max((max(boxes.values(), default=0) for boxes in whole.values()), default=0)
    _count_images(survey, path, found, classes, used, filters, key)
    least = (filters or {}).get('min_size', 0)
    _count_left(survey, path, found, classes, least, learned)
    return survey


def _count_left(
    survey: Survey,
    path: str,
    found: Annotations,
    classes: Sequence[str],
    least: float,
    learned: bool,
) -> None:
    """Count the boxes that are left to learn from, or to score against, and say why others aren't.

    Args:
        survey: of the file; what was found is added.
        path: the file.
        found: what it holds.
        classes: of the data set.
        least: side of an image, px, below which it is left out.
        learned: whether the boxes are learned from.
    """
    fit = {image for image, size in found.sizes.items() if min(size) >= least}
    counts = found.scored
    if learned:
        counts = {name: found.usable[name] - found.crowds[name] for name in classes}
    left = {
        name: sum(count for image, count in counts[name].items() if image in fit)
        for name in classes
    }
    use = 'learn from' if learned else 'score against'
    lost = _total(found.dropped, classes)
    crowds = sum(found.crowds[name].total() for name in classes)
    if crowds:
        lost[CROWD] = crowds
        survey.notes.append(f'boxes {CROWD}, which are not there to {use}: {crowds}')
    whole = lost.total() - crowds + sum(found.usable[name].total() for name in classes)
    if not whole:
        return
    main, count = lost.most_common(1)[0] if lost else ('', 0)
    cause = CAUSES.get(main, '')
    if main in (NARROW, OUTSIDE) and max(found.largest[name] for name in classes) <= 1:
        cause = FRACTIONS
    if not any(left.values()):
        reasons = _listing(lost) or f'all in images with a side below {least} px'
        survey.problems.append(
            f'{path}: none of the {whole} boxes of the classes is left to {use}: {reasons}'
            + (f'; {cause}' if cause else '')
        )
        return
    if 2 * count > whole:
        survey.notes.append(f'warning: {count} of {whole} boxes are {main}; {cause}')
    beyond = sum(found.beyond[name] for name in classes)
    if 2 * beyond > whole:
        survey.notes.append(
            f'warning: {beyond} of {whole} boxes reach beyond their image; {CORNERS}'
        )
    unseen = [name for name in classes if not left[name]]
    if unseen:
        why = _total(found.dropped, unseen)
        why[CROWD] = sum(found.crowds[name].total() for name in unseen)
        reasons = f' ({_listing(+why)})' if +why else ''
        survey.notes.append(f'warning: classes without a box to {use}: {some(unseen)}{reasons}')


def _count_images(
    survey: Survey,
    path: str,
    found: Annotations,
    classes: Sequence[str],
    used: Counter,
    filters: Mapping | None,
    key: str,
) -> None:
    total = len(found.sizes)
    annotated = set().union(*(found.present[name] for name in classes))
    empty = set(found.sizes) - annotated
    least = (filters or {}).get('min_size', 0)
    small = {image for image, size in found.sizes.items() if min(size) < least}
    drops_empty = bool((filters or {}).get('filter_empty_gt'))
    left_out = small | (empty if drops_empty else set())
    survey.images = total - len(left_out)
    survey.notes.append(
        f'{survey.images} of {total} images used, with {used.total()} boxes of {len(classes)} '
        f'classes, at most {max(used.values(), default=0)} in an image'
    )
    if empty and drops_empty:
        survey.notes.append(
            f'images without an object of the classes: {len(empty)}, left out; to learn from them: '
            f'--cfg-options {key}.filter_cfg.filter_empty_gt=False'
        )
    elif empty:
        survey.notes.append(f'images without an object of the classes: {len(empty)}, used')
    if small:
        survey.notes.append(f'images with a side below {least} px: {len(small)}, left out')
    bare = annotated - set(used) - small
    if bare:
        survey.notes.append(f'images that keep none of their boxes: {len(bare)}, used as empty')
    if not survey.images:
        survey.problems.append(
            f'{path}: all {total} images are left out ({len(empty)} without an object of the '
            f'classes, {len(small)} too small)'
        )


def _total(counts: Mapping[str, Counter], classes: Sequence[str]) -> Counter:
    return sum((counts[name] for name in classes), Counter())


def _listing(counts: Counter) -> str:
    return ', '.join(f'{count} {reason}' for reason, count in counts.most_common())
