"""Runs an exported model on images: python run_onnx.py MODEL.onnx IMAGE... [--out FOLDER].

Needs numpy, onnxruntime and Pillow, nothing else: this file can be copied anywhere and used
alone, from the command line or as a module (``Model('model.onnx')('photo.jpg')``). It does to an
image what mmdet's, mmseg's and mmpretrain's test pipelines do, and to the network's outputs what
their heads do. All settings come with the model.
"""

import argparse
import contextlib
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

SETTINGS = 'glmix_mm'  # key of the settings in the model's metadata
BOXES, MASKS = '.boxes.onnx', '.masks.onnx'  # endings of Mask R-CNN's second and third graph
COEFFICIENT_BITS = 11  # of OpenCV's fixed-point interpolation


class RunnerError(Exception):
    """A mistake that the user can fix."""


class Model:
    """An exported model.

    Args:
        path: of the .onnx file; those of Mask R-CNN's other graphs are beside it.
        threads: CPU threads; 0 for as many as there are cores.
        providers: of onnxruntime, such as ('CUDAExecutionProvider',).

    Attributes:
        settings: what the file says of itself, such as its 'task' and 'classes'.

    Raises:
        RunnerError: a file is missing, or none that ``glmix export`` wrote.
    """

    def __init__(self, path, threads=0, providers=('CPUExecutionProvider',)):
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._providers = list(providers)
        path = Path(path)
        self._session = self._open(path)
        metadata = self._session.get_modelmeta().custom_metadata_map
        if SETTINGS not in metadata:
            raise RunnerError(f'{path} has no settings in it; export it with glmix export')
        self.settings = json.loads(metadata[SETTINGS])
        if self.settings['task'] == 'backbone':
            raise RunnerError(f'{path} is a backbone: it gives feature maps, and no predictions')
        if self.settings['task'] == 'instances':
            self._boxes = self._open(path.with_suffix(BOXES))
            self._masks = self._open(path.with_suffix(MASKS))

    def _open(self, path):
        if not path.is_file():
            raise RunnerError(f'{path}: no such file')
        return onnxruntime.InferenceSession(path, self._options, providers=self._providers)

    def __call__(self, image, color='rgb'):
        """Run the model on one image.

        Args:
            image: a path, an image of Pillow's, or pixels (h, w, 3), uint8.
            color: the order of the channels of pixels, 'rgb' or 'bgr', as OpenCV reads them.

        Returns:
            A dict. Of a detector: 'boxes' (n, 4), x1, y1, x2, y2 in px of the image, 'scores' (n)
            and 'labels' (n), the best first; with masks, 'masks' (n, h, w), bool. Of a segmentor:
            'labels' (h, w). Of a classifier: 'scores', of all classes.

        Raises:
            RunnerError: the image cannot be read, is nothing of the above, or is too large for the
                graph.
        """
        if color not in ('rgb', 'bgr'):
            raise RunnerError(f"color={color!r}: expected 'rgb' or 'bgr'")
        pixels = image if isinstance(image, np.ndarray) else read_image(image)
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise RunnerError(
                f'found pixels {pixels.shape} of {pixels.dtype}; expected (h, w, 3) of uint8, from '
                '0 to 255: of floats from 0 to 1 give (255 * image).round().astype("uint8")'
            )
        if isinstance(image, np.ndarray) and color == 'bgr':
            pixels = pixels[:, :, ::-1]
        prepared = Prepared(pixels, self.settings)
        outputs = self._run(self._session, image=prepared.tensor)
        task = self.settings['task']
        if task == 'classification':
            return dict(scores=softmax(outputs['logits'])[0])
        if task == 'segmentation':
            return dict(labels=label_map(outputs['logits'][0], prepared, self.settings))
        if task == 'detection':
            return detect(outputs, prepared, self.settings)
        return self._find_instances(outputs, prepared)

    def _run(self, session, **inputs):
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))

    def _find_instances(self, outputs, prepared):
        """Do what Mask R-CNN does after its RPN."""
        maps = {name: value for name, value in outputs.items() if name.startswith('map')}
        proposals = propose(outputs, prepared, self.settings['anchors'])
        if not len(proposals):
            return _nothing(prepared)
        found = self._run(self._boxes, boxes=proposals, **maps)
        boxes, scores, labels = classify_boxes(
            proposals, found['logits'], found['deltas'], prepared, self.settings['boxes']
        )
        if not len(boxes):
            return _nothing(prepared)
        masks = self._run(self._masks, boxes=boxes, **maps)['masks']
        chosen = labels if masks.shape[1] > 1 else np.zeros_like(labels)
        boxes = boxes / prepared.scale
        threshold = self.settings['masks']['threshold']
        masks = paste_masks(masks[np.arange(len(boxes)), chosen], boxes, prepared.height_width)
        return dict(boxes=boxes, scores=scores, labels=labels, masks=masks >= threshold)


def read_image(source):
    """Return RGB pixels (h, w, 3), uint8, turned upright, as OpenCV reads them.

    Args:
        source: a path, or an image of Pillow's.
    """
    is_open = isinstance(source, Image.Image)
    try:
        with contextlib.nullcontext(source) if is_open else Image.open(source) as image:
            sixteen = image.mode.startswith('I;16') or (image.mode, image.format) == ('I', 'PNG')
            return as_rgb(ImageOps.exif_transpose(image), sixteen)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        name = getattr(source, 'filename', '') if is_open else source
        raise RunnerError(f'{name}: not a readable image ({error})') from error


def as_rgb(image, sixteen=False):
    """Return the RGB pixels of Pillow's image: of sixteen bits of grey the upper 8."""
    if sixteen:
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode in ('I', 'F'):
        raise ValueError('its samples have 32 bits')
    if image.mode == 'CMYK':  # Pillow's own conversion rounds otherwise
        light = 255 - np.asarray(image).astype(np.int32)
        black = light[:, :, 3:]
        return (black - ((255 - light[:, :, :3]) * black >> 8)).astype(np.uint8)
    return np.asarray(image.convert('RGB'))


class Prepared:
    """An image as the network takes it.

    Attributes:
        tensor: (1, 3, H, W), float32.
        height_width: of the image, px.
        resized: height and width, px, of the part of the tensor that shows the image.
        scale: (4), float32: factors from boxes in the image to boxes in the tensor.
    """

    def __init__(self, pixels, settings):
        self.height_width = pixels.shape[:2]
        for step in settings['steps']:
            pixels = STEPS[step['kind']](pixels, step, settings['size'])
        self.resized = pixels.shape[:2]
        factors = [new / old for new, old in zip(self.resized, self.height_width, strict=True)]
        self.scale = np.array([factors[1], factors[0]] * 2, dtype=np.float32)
        own = settings['input']
        if not own['rgb']:
            pixels = pixels[:, :, ::-1]
        mean, std = (np.array(own[name], dtype=np.float32) for name in ('mean', 'std'))
        image = (pixels.astype(np.float32) - mean) / std
        divisor = own['divisor']
        sides = settings['size'] or [-(-side // divisor) * divisor for side in self.resized]
        edges = [(0, side - shown) for side, shown in zip(sides, self.resized, strict=True)]
        if min(edge for _, edge in edges) < 0:
            found, limit = (' x '.join(map(str, pair)) for pair in (self.resized, sides))
            raise RunnerError(f'the image is {found} px, more than the {limit} px exported')
        image = np.pad(image, [*edges, (0, 0)], constant_values=own['padding'])
        self.tensor = np.ascontiguousarray(image.transpose(2, 0, 1)[None])


def _resize(pixels, step, limit):
    """Resize to a scale; a graph of a fixed size bounds it as well."""
    height, width = pixels.shape[:2]
    long, short = max(step['scale']), min(step['scale'])
    if not step['keep_ratio']:
        return resize(pixels, step['scale'][1], step['scale'][0])
    factor = min(long / max(height, width), short / min(height, width))
    if limit:
        factor = min(factor, limit[0] / height, limit[1] / width)
    return resize(pixels, int(height * factor + 0.5), int(width * factor + 0.5))


def _resize_to_multiple(pixels, step, limit):
    height, width = (-(-side // step['divisor']) * step['divisor'] for side in pixels.shape[:2])
    return resize(pixels, height, width)


def _resize_short_side(pixels, step, limit):
    height, width = pixels.shape[:2]
    scale = step['scale']
    size = (
        (scale, int(scale * height / width))
        if width < height
        else (
            int(scale * width / height),
            scale,
        )
    )
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def _crop(pixels, step, limit):
    height, width = pixels.shape[:2]
    top, left = (
        max(0, round((side - crop) / 2.0))
        for side, crop in zip((height, width), step['size'], strict=True)
    )
    return pixels[top : top + step['size'][0], left : left + step['size'][1]]


STEPS = {
    'resize': _resize,
    'multiple': _resize_to_multiple,
    'short_side': _resize_short_side,
    'crop': _crop,
}


def resize(pixels, height, width):
    """Resize as OpenCV's bilinear interpolation does, bit for bit (Pillow's filters otherwise).

    Args:
        pixels: (h, w, 3), uint8.
        height: wanted, px.
        width: wanted, px.

    Returns:
        (height, width, 3), uint8.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    top, bottom, down = _neighbours(pixels.shape[0], height)
    left, right, across = _neighbours(pixels.shape[1], width)
    unit = 1 << COEFFICIENT_BITS
    wide = pixels.astype(np.int32)
    across = across[:, None]
    rows = wide[:, left] * (unit - across) + wide[:, right] * across
    down = down[:, None, None]
    mixed = ((rows[top] >> 4) * (unit - down) >> 16) + ((rows[bottom] >> 4) * down >> 16)
    return ((mixed + 2) >> 2).astype(np.uint8)


def _neighbours(old, new):
    """Return for each new place the two old ones it lies between and the share of the second."""
    place = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int64)
    share = np.rint((place - first) * (1 << COEFFICIENT_BITS)).astype(np.int32)
    return first.clip(0, old - 1), (first + 1).clip(0, old - 1), share


def softmax(logits):
    """Return the probabilities along the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def sigmoid(logits):
    """Return the probability of each logit."""
    with np.errstate(over='ignore'):
        return (1 / (1 + np.exp(-logits))).astype(logits.dtype)


def label_map(logits, prepared, settings):
    """Return the class of each pixel of the image from logits (classes, h, w).

    With one output for two classes, it is the second where its probability is above a threshold.

    They are resized to the network's image, whose padding is cut off, then to the image itself,
    both bilinearly: products with one matrix for the rows and one for the columns.
    """
    matrices = []
    for axis in (0, 1):
        size = prepared.tensor.shape[2 + axis]
        aligned = settings['align_corners']
        to_network = interpolation(logits.shape[1 + axis], size, aligned)[: prepared.resized[axis]]
        to_image = interpolation(len(to_network), prepared.height_width[axis], aligned)
        matrices.append((to_image @ to_network).astype(np.float32))
    down, across = matrices
    if len(logits) == 1:
        return (sigmoid(down @ logits[0] @ across.T) > settings['threshold']).astype(np.uint8)
    best = np.full(prepared.height_width, -np.inf, dtype=np.float32)
    labels = np.zeros(prepared.height_width, dtype=np.min_scalar_type(len(logits)))
    for label, low in enumerate(logits):  # one class at a time: all of them are large
        high = down @ low @ across.T
        better = high > best
        best[better] = high[better]
        labels[better] = label
    return labels


def interpolation(old, new, aligned=False):
    """Return the matrix (new, old) of a bilinear resizing along one axis."""
    if aligned:
        place = np.arange(new) * ((old - 1) / max(new - 1, 1))
    else:
        place = ((np.arange(new) + 0.5) * (old / new) - 0.5).clip(min=0)
    first = np.minimum(place.astype(np.int64), old - 1)
    second = np.minimum(first + 1, old - 1)
    share = place - first
    matrix = np.zeros((new, old))
    np.add.at(matrix, (np.arange(new), first), 1 - share)
    np.add.at(matrix, (np.arange(new), second), share)
    return matrix


def detect(outputs, prepared, settings):
    """Return RetinaNet's detections."""
    own, count = settings['anchors'], len(settings['classes'])
    candidates = []
    for logits, deltas, anchors in levels(outputs, own):
        scores = sigmoid(logits.reshape(-1, count))
        places, labels = np.nonzero(scores > own['score_thr'])
        best = order(scores[places, labels])[: own['nms_pre']]
        places, labels = places[best], labels[best]
        boxes = decode(anchors[places], deltas[places], own['coder'], prepared.resized)
        candidates.append((boxes, scores[places, labels], labels))
    boxes, scores, labels = map(np.concatenate, zip(*candidates, strict=True))
    boxes = boxes * (1 / prepared.scale)
    boxes, scores, labels = _large(own, boxes, scores, labels)
    kept = suppress(boxes, scores, labels, own['iou_threshold'])[: own['max_per_img']]
    return dict(boxes=boxes[kept], scores=scores[kept], labels=labels[kept])


def propose(outputs, prepared, own):
    """Return the proposals of Mask R-CNN's RPN, (n, 4), in px of the network's image."""
    candidates = []
    for level, (logits, deltas, anchors) in enumerate(levels(outputs, own)):
        scores = sigmoid(logits.ravel())
        best = order(scores)[: own['nms_pre']] if 0 < own['nms_pre'] < len(scores) else slice(None)
        boxes = decode(anchors[best], deltas[best], own['coder'], prepared.resized)
        candidates.append((boxes, scores[best], np.full(len(boxes), level)))
    boxes, scores, level = map(np.concatenate, zip(*candidates, strict=True))
    boxes, scores, level = _large(own, boxes, scores, level)
    return boxes[suppress(boxes, scores, level, own['iou_threshold'])[: own['max_per_img']]]


def _large(own, boxes, *others):
    if own['min_bbox_size'] < 0:
        return boxes, *others
    large = (boxes[:, 2:] - boxes[:, :2] > own['min_bbox_size']).all(1)
    return boxes[large], *(values[large] for values in others)


def levels(outputs, own):
    """Yield each level's logits (h * w * A * classes), deltas and anchors, (h * w * A, 4) both."""
    for level, (base, stride) in enumerate(zip(own['base'], own['strides'], strict=True)):
        scores, deltas = outputs[f'scores{level}'][0], outputs[f'deltas{level}'][0]
        height, width = scores.shape[1:]
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        shift = np.stack([columns * stride[0], rows * stride[1]] * 2, axis=2)  # (h, w, 4)
        anchors = shift[:, :, None] + np.array(base, dtype=np.float32)
        yield (
            scores.transpose(1, 2, 0).reshape(-1),
            deltas.transpose(1, 2, 0).reshape(-1, 4),
            anchors.reshape(-1, 4),
        )


def classify_boxes(proposals, logits, deltas, prepared, own):
    """Return boxes (n, 4), in px of the network's image, scores and labels of Mask R-CNN."""
    scores = softmax(logits)[:, :-1]  # the last is the background's
    per_box = deltas.shape[1] // 4
    boxes = decode(
        proposals.repeat(per_box, axis=0), deltas.reshape(-1, 4), own['coder'], prepared.resized
    ).reshape(-1, per_box, 4)
    places, labels = np.nonzero(scores > own['score_thr'])
    boxes = boxes[places, labels if per_box > 1 else 0]
    scores = scores[places, labels]
    kept = suppress(boxes, scores, labels, own['iou_threshold'])[: own['max_per_img']]
    return boxes[kept], scores[kept], labels[kept]


def decode(anchors, deltas, coder, height_width):
    """Move and stretch boxes (n, 4) by deltas (n, 4), and clip them to the image."""
    means, stds = (np.array(coder[name], dtype=np.float32) for name in ('means', 'stds'))
    deltas = deltas * stds + means
    bound = np.float32(abs(np.log(coder['min_wh_ratio'])))
    middle = (anchors[:, :2] + anchors[:, 2:]) * np.float32(0.5)
    size = anchors[:, 2:] - anchors[:, :2]
    middle = middle + size * deltas[:, :2]
    half = size * np.exp(deltas[:, 2:].clip(-bound, bound)) * np.float32(0.5)
    boxes = np.concatenate([middle - half, middle + half], axis=1)
    if coder['clip']:
        boxes = boxes.clip(0, np.array([*height_width[::-1]] * 2, dtype=np.float32))
    return boxes


def order(scores):
    """Return the places of the scores, the best first; of equal ones the first first."""
    return np.argsort(-scores, kind='stable')


def suppress(boxes, scores, groups, iou_threshold):
    """Return the places of the boxes that survive non-maximum suppression within their groups.

    Args:
        boxes: (n, 4), x1, y1, x2, y2.
        scores: (n).
        groups: (n), whole numbers.
        iou_threshold: a box that overlaps a better one of its group by more than this is dropped.

    Returns:
        The places, the best score first.
    """
    if not len(boxes):
        return np.zeros(0, dtype=np.int64)
    # mmcv shifts groups apart and then takes them together; the shift rounds the boxes.
    boxes = boxes + (groups.astype(np.float32) * (boxes.max() + np.float32(1)))[:, None]
    kept = []
    for group in np.unique(groups):
        rest = np.flatnonzero(groups == group)
        rest = rest[order(scores[rest])]
        while len(rest):
            best, rest = rest[0], rest[1:]
            kept.append(best)
            rest = rest[overlap(boxes[best], boxes[rest]) <= np.float32(iou_threshold)]
    kept = np.sort(kept)
    return kept[order(scores[kept])]


def overlap(box, others):
    """Return the intersection over union of a box with others (n, 4)."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = sides.clip(min=0).prod(1)
    area = (others[:, 2:] - others[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return shared / np.maximum(area - shared, np.finfo(np.float32).tiny)


def paste_masks(masks, boxes, height_width):
    """Draw masks (n, m, m) into their boxes (n, 4) of an image: (n, h, w), float32.

    A pixel's value is interpolated, at its middle, between the middles of the mask's cells, and
    between the outermost of them and zeros.
    """
    height, width = height_width
    out = np.zeros((len(masks), height, width), dtype=np.float32)
    for image, mask, (x1, y1, x2, y2) in zip(out, masks, boxes, strict=True):
        top, left = (max(0, int(np.floor(low)) - 1) for low in (y1, x1))
        bottom, right = min(height, int(np.ceil(y2)) + 1), min(width, int(np.ceil(x2)) + 1)
        if min(x2 - x1, y2 - y1) <= 0 or bottom <= top or right <= left:
            continue
        down = _spread(np.arange(top, bottom), y1, y2, len(mask))
        across = _spread(np.arange(left, right), x1, x2, mask.shape[1])
        image[top:bottom, left:right] = down @ mask @ across.T
    return out


def _spread(pixels, low, high, cells):
    """Return the matrix (pixels, cells) that interpolates cells spread from ``low`` to ``high``."""
    place = ((pixels + np.float32(0.5) - low) / (high - low)) * np.float32(cells) - np.float32(0.5)
    distance = np.abs(place[:, None] - np.arange(cells, dtype=np.float32))
    return (1 - distance).clip(min=0)


def _nothing(prepared):
    return dict(
        boxes=np.zeros((0, 4), np.float32),
        scores=np.zeros(0, np.float32),
        labels=np.zeros(0, np.int64),
        masks=np.zeros((0, *prepared.height_width), bool),
    )


def run_lengths(mask):
    """Return a mask (h, w) as COCO's compressed run lengths, down the columns, zeros first."""
    flat = np.concatenate([[False], mask.T.ravel()])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], ends, [mask.size]])).tolist()
    return dict(size=list(mask.shape), counts=compress(counts))


def compress(counts):
    """Return run lengths as COCO's text: differences from the last but one, 5 bits a character."""
    text = []
    for place, value in enumerate(counts):
        value -= counts[place - 2] if place > 2 else 0
        while True:
            bits, value = value & 31, value >> 5
            ends = value == (-1 if bits & 16 else 0)  # the last one's upper bit is the sign
            text.append(chr(bits + (0 if ends else 32) + 48))
            if ends:
                break
    return ''.join(text)


def annotations(result, image_id, numbers, score_thr):
    """Return what was found in an image, as COCO's results have it.

    Args:
        result: a detector's, or a classifier's, whose five best classes have no boxes.
        image_id: the image's number.
        numbers: the number of each class's category.
        score_thr: least score of a detection.
    """
    found = []
    if 'boxes' not in result:
        for label in order(result['scores'])[:5]:
            score = float(result['scores'][label])
            found.append(dict(image_id=image_id, category_id=numbers[label], score=score))
        return found
    for place in np.flatnonzero(result['scores'] >= score_thr):
        x1, y1, x2, y2 = result['boxes'][place].tolist()
        item = dict(
            image_id=image_id,
            category_id=numbers[result['labels'][place]],
            score=float(result['scores'][place]),
            bbox=[x1, y1, x2 - x1, y2 - y1],
            area=(x2 - x1) * (y2 - y1),
        )
        if 'masks' in result:
            item['segmentation'] = run_lengths(result['masks'][place])
            item['area'] = int(result['masks'][place].sum())
        found.append(item)
    return found


def main(argv=None):
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(description='Run an exported model on images.')
    parser.add_argument('model', help='an .onnx file that glmix export wrote')
    parser.add_argument('images', nargs='+', metavar='IMAGE')
    parser.add_argument('--out', type=Path, default='predictions', help='folder for results')
    parser.add_argument('--score-thr', type=float, default=0.3, help='of a detection (0.3)')
    parser.add_argument('--threads', type=int, default=0, help='of the CPU (all)')
    args = parser.parse_args(argv)
    try:
        failed = run(args)
    except RunnerError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return int(failed)


def run(args):
    """Write predictions.json, and label maps, as this package's ``predict`` does.

    Returns:
        Whether an image was skipped because it cannot be read.
    """
    model = Model(args.model, args.threads)
    classes, numbers = model.settings['classes'], model.settings['category_ids']
    results = dict(images=[])
    if model.settings['task'] == 'segmentation':
        results.update(classes=classes)
    else:
        categories = [dict(id=n, name=name) for n, name in zip(numbers, classes, strict=True)]
        results.update(categories=categories, annotations=[])
    for path, name in zip(args.images, output_names(args.images), strict=True):
        try:
            pixels = read_image(path)
            found = model(pixels)
        except RunnerError as error:
            reason = str(error) if str(path) in str(error) else f'{path}: {error}'
            print(f'skipped: {reason}', file=sys.stderr)
            continue
        height, width = pixels.shape[:2]
        image = dict(id=len(results['images']) + 1, file_name=path, height=height, width=width)
        if 'scores' not in found:
            image['label_map'] = f'labels/{name}.png'
            (args.out / 'labels').mkdir(parents=True, exist_ok=True)
            Image.fromarray(found['labels']).save(args.out / image['label_map'])
        else:
            for item in annotations(found, image['id'], numbers, args.score_thr):
                number = len(results['annotations']) + 1
                results['annotations'].append(dict(id=number, iscrowd=0, **item))
        results['images'].append(image)
    args.out.mkdir(parents=True, exist_ok=True)
    target = args.out / 'predictions.json'
    target.write_text(json.dumps(results), encoding='utf-8')
    print(target)
    return len(results['images']) < len(args.images)


def output_names(paths):
    """Return a name for what is written of each image: its stem, numbered where stems repeat."""
    names = []
    for path in paths:
        name, number = Path(path).stem, 2
        while name in names:
            name, number = f'{Path(path).stem}_{number}', number + 1
        names.append(name)
    return names


if __name__ == '__main__':
    sys.exit(main())
