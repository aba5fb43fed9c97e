"""What mmdet makes of the annotations in a COCO json: which boxes, masks and images it uses."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .annotations import is_pointless
from .paths import some
from .survey import Survey

BEYOND = 1  # px that a box may reach beyond its image before it is told


@dataclass
class Annotations:
    """What the annotations of one file hold, by category.

    Attributes:
        sizes: width and height of each image, px, by its id.
        present: ids of the images that have an annotation of a category, whatever it is.
        usable: number of the boxes that mmdet uses, by image id, for each category.
        dropped: number of the boxes that mmdet leaves out, by reason, for each category.
        beyond: number of the boxes that reach beyond their image.
        pointless: number of the masks whose polygons have too few points.
    """

    sizes: dict = field(default_factory=dict)
    present: dict[str, set] = field(default_factory=dict)
    usable: dict[str, Counter] = field(default_factory=dict)
    dropped: dict[str, Counter] = field(default_factory=dict)
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
        found.dropped[name] = Counter()
    for box in content.get('annotations') or ():
        name, image = names[box['category_id']], box['image_id']
        found.present[name].add(image)
        reason = _reason_to_drop(box, found.sizes[image])
        if reason:
            found.dropped[name][reason] += 1
            continue
        found.usable[name][image] += 1
        found.beyond[name] += _reaches_beyond(box['bbox'], found.sizes[image])
        found.pointless[name] += sound_masks and is_pointless(box.get('segmentation') or {})
    return found


def _reason_to_drop(box: Mapping, size: tuple[int, int]) -> str:
    """Return why mmdet's ``CocoDataset.parse_data_info`` leaves an annotation out, or ''."""
    if box.get('ignore'):
        return "marked 'ignore'"
    x, y, width, height = box['bbox']
    inside = min(x + width, size[0]) - max(x, 0), min(y + height, size[1]) - max(y, 0)
    if min(inside) <= 0:
        return 'outside its image or without extent'
    if width < 1 or height < 1:
        return 'narrower or lower than 1 px'
    if box['area'] <= 0:
        return 'of area 0'
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
) -> Survey:
    """Say what mmdet uses of a file's images and annotations.

    Args:
        path: the file.
        found: what it holds.
        classes: of the data set.
        filters: the data set's ``filter_cfg``; None for one that keeps all images (testing).
        key: full key of the data set in the config.
        with_masks: whether the data set's pipeline loads masks.
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
    _count_images(survey, path, found, classes, used, filters, key)
    return survey


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
    unseen = [name for name in classes if not found.usable[name]]
    if unseen and annotated:
        survey.notes.append(f'classes without a box: {some(unseen)}')
    if not survey.images:
        survey.problems.append(
            f'{path}: all {total} images are left out ({len(empty)} without an object of the '
            f'classes, {len(small)} too small)'
        )


def _total(counts: Mapping[str, Counter], classes: Sequence[str]) -> Counter:
    return sum((counts[name] for name in classes), Counter())


def _listing(counts: Counter) -> str:
    return ', '.join(f'{count} {reason}' for reason, count in counts.most_common())
