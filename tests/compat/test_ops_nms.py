"""NMS, soft-NMS and NMS-match against scalar loops in float64 and torchvision."""

import math

import numpy as np
import pytest
import torch
import torchvision
from served_ops import DEVICES, ops, random_boxes, use_served_ops


@pytest.fixture(autouse=True)
def served_ops(monkeypatch):
    use_served_ops(monkeypatch)


def some_detections(count, seed=0):
    """Four jittered boxes an object, as detectors give them."""
    generator = torch.Generator().manual_seed(seed)
    boxes = random_boxes(count // 4, 100.0, generator).repeat(4, 1)
    jitter = torch.randn(boxes.shape, generator=generator) * 1.5
    return boxes + jitter, torch.rand(count, generator=generator)


def iou(a, b, offset):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    area_a = (a[2] - a[0] + offset) * (a[3] - a[1] + offset)
    area_b = (b[2] - b[0] + offset) * (b[3] - b[1] + offset)
    union = area_a + area_b - width * height
    return width * height / union if union else 0.0


def naive_nms(boxes, scores, threshold, offset):
    boxes, kept = boxes.double().tolist(), []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i].item(), i)):
        if all(iou(boxes[i], boxes[k], offset) <= threshold for k in kept):
            kept.append(i)
    return kept


def naive_soft_nms(boxes, scores, method, threshold, sigma, min_score, offset):
    """The loop that mmcv runs: swap the best to the front, fill a hole with the last."""
    rows = [
        [i, *box, score]
        for i, (box, score) in enumerate(zip(boxes.tolist(), scores.tolist(), strict=True))
    ]
    i = 0
    while i < len(rows):
        best = max(range(i, len(rows)), key=lambda j: (rows[j][5], -j))
        rows[i], rows[best] = rows[best], rows[i]
        j = i + 1
        while j < len(rows):
            overlap = iou(rows[i][1:5], rows[j][1:5], offset)
            if method == 'gaussian':
                rows[j][5] *= math.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                rows[j][5] *= 0.0 if method == 'naive' else 1 - overlap
            if rows[j][5] < min_score:
                rows[j] = rows[-1]
                rows.pop()
            else:
                j += 1
        i += 1
    return rows


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.3, 0.7])
def test_nms_equals_loop(threshold, offset, device):
    boxes, scores = some_detections(200)
    dets, kept = ops.nms(boxes.to(device), scores.to(device), threshold, offset=offset)
    expected = naive_nms(boxes, scores, threshold, offset)
    assert 10 < len(expected) < 190
    assert kept.tolist() == expected
    assert torch.equal(dets.cpu(), torch.cat([boxes, scores[:, None]], dim=1)[expected])


@pytest.mark.parametrize('device', DEVICES)
def test_nms_equals_torchvision(device):
    boxes, scores = (t.to(device) for t in some_detections(500, seed=1))
    assert torch.equal(ops.nms(boxes, scores, 0.5)[1], torchvision.ops.nms(boxes, scores, 0.5))


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('rows', [3, 6, 7])
def test_nms_keeps_an_overlap_equal_to_the_threshold(rows, offset, device):
    """The IoU is exactly rows / 10; in float32 0.3 and 0.6 lie above the float64 number."""
    last = 10.0 - offset
    boxes = torch.tensor([[0, 0, last, last], [0, 0, last, rows - offset]], device=device)
    scores = torch.tensor([0.9, 0.8], device=device)
    assert ops.nms(boxes, scores, rows / 10, offset=offset)[1].tolist() == [0, 1]
    assert ops.nms(boxes, scores, rows / 10 - 1e-3, offset=offset)[1].tolist() == [0]


def test_nms_offset_counts_inclusive_pixels():
    """[0, 1] and [1, 2] share the column 1 of three: IoU 1/3 with offset 1, none with 0."""
    boxes = torch.tensor([[0.0, 0, 1, 1], [1, 0, 2, 1]])
    scores = torch.tensor([0.9, 0.8])
    assert ops.nms(boxes, scores, 0.32, offset=1)[1].tolist() == [0]
    assert ops.nms(boxes, scores, 0.34, offset=1)[1].tolist() == [0, 1]
    assert ops.nms(boxes, scores, 0.0, offset=0)[1].tolist() == [0, 1]


@pytest.mark.parametrize('device', DEVICES)
def test_nms_takes_the_lower_index_of_equal_scores(device):
    boxes = torch.tensor([[0.0, 0, 10, 10]] * 40 + [[20.0, 0, 30, 10]] * 40, device=device)
    assert ops.nms(boxes, torch.full((80,), 0.5, device=device), 0.5)[1].tolist() == [0, 40]


def test_nms_keeps_boxes_without_area():
    boxes = torch.tensor([[5.0, 5, 5, 5], [5, 5, 5, 5], [0, 0, 10, 10]])
    assert ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.1)[1].tolist() == [0, 1, 2]


def test_nms_score_threshold_and_max_num():
    boxes, scores = some_detections(100, seed=2)
    strong = (scores > 0.4).nonzero().squeeze(1)
    order = naive_nms(boxes[strong], scores[strong], 0.5, 0)
    expected = strong[order][:7].tolist()
    assert ops.nms(boxes, scores, 0.5, score_threshold=0.4, max_num=7)[1].tolist() == expected


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16, torch.float16])
def test_nms_in_other_dtypes(dtype):
    boxes, scores = (t.to(dtype) for t in some_detections(60, seed=3))
    assert ops.nms(boxes, scores, 0.5)[1].tolist() == naive_nms(boxes, scores, 0.5, 0)


def test_nms_of_numpy_and_strided_input():
    boxes, scores = some_detections(60, seed=4)
    expected = naive_nms(boxes, scores, 0.5, 0)
    assert ops.nms(boxes.numpy(), scores.numpy(), 0.5)[1].tolist() == expected
    strided = torch.stack([boxes, boxes], dim=2)[:, :, 0]
    assert ops.nms(strided, scores.repeat(2, 1).t()[:, 0], 0.5)[1].tolist() == expected


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('split_thr', [10000, 50])
def test_batched_nms_equals_torchvision(split_thr, device):
    boxes, scores = some_detections(300, seed=5)
    labels = torch.arange(300) % 5
    boxes, scores, labels = boxes.to(device), scores.to(device), labels.to(device)
    config = dict(type='nms', iou_threshold=0.5, split_thr=split_thr)
    dets, kept = ops.batched_nms(boxes, scores, labels, config)
    expected = torchvision.ops.batched_nms(boxes, scores, labels, 0.5)
    assert torch.equal(kept, expected)
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], dim=1)[expected])
    few = ops.batched_nms(boxes, scores, labels, config | dict(max_num=9))[1]
    assert torch.equal(few, expected[:9])


def test_batched_nms_class_agnostic_none_and_empty():
    boxes, scores = some_detections(100, seed=6)
    labels = torch.arange(100) % 3
    config = dict(type='nms', iou_threshold=0.5)
    agnostic = ops.batched_nms(boxes, scores, labels, config, class_agnostic=True)[1]
    assert torch.equal(agnostic, torchvision.ops.nms(boxes, scores, 0.5))
    assert torch.equal(
        ops.batched_nms(boxes, scores, labels, None)[1], scores.argsort(descending=True)
    )
    nothing = ops.batched_nms(boxes[:0], scores[:0], labels[:0], config, class_agnostic=True)
    assert nothing[0].shape == (0, 5)
    assert nothing[1].shape == (0,)


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('ties', [False, True])
def test_soft_nms_equals_loop(method, offset, ties):
    boxes, scores = some_detections(80, seed=7)
    if ties:  # many equal scores: the order shows how dropped boxes are taken out
        scores = (scores * 4).ceil() / 4
    dets, kept = ops.soft_nms(boxes, scores, 0.3, 0.5, 0.05, method, offset)
    expected = naive_soft_nms(boxes, scores, method, 0.3, 0.5, 0.05, offset)
    assert 5 < len(expected) < 80
    assert kept.tolist() == [row[0] for row in expected]
    np.testing.assert_allclose(dets, [row[1:] for row in expected], rtol=2e-6)


def test_soft_nms_in_batched_nms():
    """Classes are apart, and the decayed scores are returned in order."""
    boxes, scores = some_detections(60, seed=8)
    labels = torch.arange(60) % 2
    config = dict(type='soft_nms', iou_threshold=0.3, sigma=0.5, min_score=0.05)
    dets, kept = ops.batched_nms(boxes, scores, labels, config)
    rows = []
    for label in (0, 1):
        index = (labels == label).nonzero().squeeze(1)
        found = naive_soft_nms(boxes[index], scores[index], 'linear', 0.3, 0.5, 0.05, 0)
        rows += [(index[row[0]].item(), row[5]) for row in found]
    rows.sort(key=lambda row: -row[1])
    assert kept.tolist() == [row[0] for row in rows]
    np.testing.assert_allclose(dets[:, 4], [row[1] for row in rows], rtol=1e-4)


def test_soft_nms_of_nothing_and_of_boxes_without_area():
    dets, kept = ops.soft_nms(torch.zeros(0, 4), torch.zeros(0))
    assert dets.shape == (0, 5)
    assert kept.shape == (0,)
    points = torch.tensor([[5.0, 5, 5, 5], [5, 5, 5, 5]])
    for method in ('naive', 'linear', 'gaussian'):
        dets, kept = ops.soft_nms(points, torch.tensor([0.8, 0.9]), method=method)
        assert kept.tolist() == [1, 0]
        np.testing.assert_allclose(dets[:, 4], [0.9, 0.8])


def test_nms_match_equals_loop():
    boxes, scores = some_detections(60, seed=9)
    scores = (scores * 10).ceil() / 10
    remaining = sorted(range(60), key=lambda i: (-scores[i].item(), i))
    table, expected = boxes.double().tolist(), []
    while remaining:
        best, *others = remaining
        group = [i for i in others if iou(table[best], table[i], 0) >= 0.4]
        expected.append([best, *group])
        remaining = [i for i in others if i not in group]
    groups = ops.nms_match(torch.cat([boxes, scores[:, None]], dim=1), 0.4)
    assert [group.tolist() for group in groups] == expected
    assert ops.nms_match(torch.zeros(0, 5), 0.4) == []
