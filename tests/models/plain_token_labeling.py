"""Token labeling position by position, in the order of its authors (arXiv 2104.10858).

The independent reference of the tests; slow on purpose. Where the authors' code confuses the crop's
rows and columns, this does not.
"""

import math

import torch
from torch.nn import functional as F


def bilinear(grid, y, x):
    """Return the value (K,) of a map (K, h, w) whose cells' centres lie at whole numbers."""
    y = min(max(y, 0.0), grid.shape[1] - 1.0)
    x = min(max(x, 0.0), grid.shape[2] - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, grid.shape[1] - 1), min(left + 1, grid.shape[2] - 1)
    upper = grid[:, top, left] * (left + 1 - x) + grid[:, top, right] * (x - left)
    lower = grid[:, bottom, left] * (left + 1 - x) + grid[:, bottom, right] * (x - left)
    return upper * (top + 1 - y) + lower * (y - top)


def align(grid, crop, rows, columns):
    """Average a map over each of the parts of a crop; its edges are parts of the image."""
    left, top, right, bottom = crop
    x0, y0 = left * grid.shape[2] - 0.5, top * grid.shape[1] - 0.5
    height = (bottom - top) * grid.shape[1] / rows
    width = (right - left) * grid.shape[2] / columns
    down, across = math.ceil(height), math.ceil(width)
    out = torch.empty(grid.shape[0], rows, columns, dtype=grid.dtype)
    for i in range(rows):
        for j in range(columns):
            points = [
                bilinear(grid, y0 + (i + (a + 0.5) / down) * height, x0 + (j + v) * width)
                for a in range(down)
                for v in [(b + 0.5) / across for b in range(across)]
            ]
            out[:, i, j] = sum(points) / len(points)
    return out


def targets(labels, crop, num_classes, rows, columns, smoothing=0.1):
    """Return what the image (K,) and its positions (K, rows, columns) should be classified as."""
    _, count, height, width = labels.shape
    grid = torch.zeros(num_classes, height, width, dtype=torch.float64)
    for k in range(count):
        for i in range(height):
            for j in range(width):
                grid[int(labels[1, k, i, j]), i, j] = float(labels[0, k, i, j])
    parts = align(grid, crop, 1, 1)[:, 0, 0], align(grid, crop, rows, columns)
    return [p.exp() / p.exp().sum(0) * (1 - smoothing) + smoothing / num_classes for p in parts]


def exchange(maps, top, left, bottom, right):
    """Give each image (N, C, h, w) the rectangle of the one as far from the batch's other end."""
    out = []
    for n in range(len(maps)):
        rows = []
        for i in range(maps.shape[2]):
            inside = [top <= i < bottom and left <= j < right for j in range(maps.shape[3])]
            sources = [len(maps) - 1 - n if inner else n for inner in inside]
            rows.append(torch.stack([maps[m, :, i, j] for j, m in enumerate(sources)], -1))
        out.append(torch.stack(rows, -2))
    return torch.stack(out)


def cross_entropy(logits, target):
    return -(target * F.log_softmax(logits, -1)).sum(-1).mean()


def features(twin, norm, images, box=(0, 0, 0, 0)):
    """Return the normalised last map of images mixed after the stem; positions are of 32 px."""
    x = twin.downsample_layers[0](images)
    x = exchange(x, *(8 * edge for edge in box))
    for stage, blocks in enumerate(twin.stages):
        x = twin.downsample_layers[stage](x.contiguous()) if stage else x
        for block in blocks.blocks:
            x = block(x)
    statistics = (None, None) if norm.training else (norm.running_mean, norm.running_var)
    return F.batch_norm(x, *statistics, norm.weight, norm.bias, training=norm.training)


def losses(twin, norm, head, dense_head, images, labels, crops, box):
    """Return the image's and half the positions' loss; the heads are pairs of weight and bias."""
    x = features(twin, norm, images, box)
    rows, columns = x.shape[2:]
    logits = F.linear(x.flatten(2).mean(2), *head)
    dense = F.linear(x.permute(0, 2, 3, 1), *dense_head).permute(0, 3, 1, 2)
    dense = exchange(dense, *box)  # back to the images that they are of
    wanted = [
        targets(label, crop, len(logits[0]), rows, columns)
        for label, crop in zip(labels, crops, strict=True)
    ]
    image, cells = (torch.stack(part) for part in zip(*wanted, strict=True))
    own = 1 - (box[2] - box[0]) * (box[3] - box[1]) / (rows * columns)
    image = own * image + (1 - own) * image.flip(0)
    dense_loss = cross_entropy(dense.permute(0, 2, 3, 1), cells.permute(0, 2, 3, 1))
    return cross_entropy(logits, image), 0.5 * dense_loss


def evaluation(twin, norm, head, dense_head, images):
    """Return the logits of an evaluation, (N, K)."""
    x = features(twin, norm, images).flatten(2).transpose(1, 2)  # (N, L, C)
    return F.linear(x.mean(1), *head) + 0.5 * F.linear(x, *dense_head).max(1)[0]
