"""Pictures hold the classes' colours where the masks are, and nothing is cut off."""

import itertools

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement as DataSample
from mmengine.structures import InstanceData, PixelData
from PIL import Image

from glmix_mm.inference.drawing import (
    add_legend,
    draw_detection,
    draw_found,
    draw_sample,
    draw_segmentation,
    save_contact_sheet,
)
from glmix_mm.utils.palette import as_seen, distinct_colours

CLASSES = ('disc', 'square')
BLUE, ORANGE = (0, 114, 178), (230, 159, 0)
PALETTE = (BLUE, ORANGE)
STYLE = (CLASSES, PALETTE)
GREY = 100


def plain_image():
    return np.full((40, 60, 3), GREY, np.uint8)


def instances(*boxes, labels, scores=None, tensors=False):
    masks = np.zeros((len(boxes), 40, 60), bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    data = InstanceData(labels=np.array(labels, int), masks=masks)
    if scores is not None:
        data.scores = np.array(scores)
    if tensors:
        data = InstanceData(**{key: torch.from_numpy(value) for key, value in data.items()})
    return data


def tinted(colour, grey=GREY):
    """Return 60 % of the colour over 40 % of the grey, written out."""
    return [round(0.4 * grey + 0.6 * channel) for channel in colour]


@pytest.mark.parametrize('tensors', [False, True])
def test_masks_are_tinted_with_their_class(tensors):
    gt = instances((4, 20, 24, 36), labels=[0])
    pred = instances((30, 20, 54, 36), labels=[1], scores=[0.9], tensors=tensors)
    image, truth, guess = draw_detection(plain_image(), gt, pred, CLASSES, PALETTE)
    assert image.shape == truth.shape == guess.shape == (80, 120, 3)
    assert (image == GREY).all()
    # Inside (beyond the outline of 2 px), on the outline, and far from it.
    assert (truth[43:69, 11:45] == tinted(BLUE)).all()
    assert (truth[71, 8:48] == BLUE).all()
    assert (truth[20:78, 60:] == GREY).all()
    assert (guess[43:69, 63:105] == tinted(ORANGE)).all()
    assert (guess[40:72, 60] == ORANGE).all()
    assert (guess[40:, :60] == GREY).all()


def test_only_brightness_of_the_image_shows_through_a_label_map():
    image = plain_image()
    image[:] = (200, 0, 0)
    labels = np.ones((40, 60), int)
    _, truth, _ = draw_segmentation(image, labels, labels, PALETTE)
    assert (truth == tinted(ORANGE, 0.299 * 200)).all()


def test_unsure_predictions_are_left_out_and_the_surest_lies_on_top():
    boxes = [(4, 20, 24, 36)] * 3
    pred = instances(*boxes, labels=[0, 1, 0], scores=[0.7, 0.8, 0.4])
    empty = instances(labels=[])
    _, _, guess = draw_detection(plain_image(), empty, pred, CLASSES, PALETTE, score_thr=0.5)
    expected = tinted(ORANGE, np.dot(tinted(BLUE), (0.299, 0.587, 0.114)))
    np.testing.assert_allclose(guess[64, 40], expected, atol=1)
    _, _, none = draw_detection(plain_image(), empty, pred, CLASSES, PALETTE, score_thr=0.9)
    assert (none == GREY).all()


def test_crowds_are_grey_and_in_the_ground_truth_only():
    crowd = instances((4, 20, 24, 36), labels=[0])
    empty = instances(labels=[])
    none = instances(labels=[], scores=[])
    _, truth, guess = draw_detection(plain_image(), empty, none, CLASSES, PALETTE, ignored=crowd)
    assert (truth[50, 20] == tinted((70, 70, 70))).all()
    assert (guess == GREY).all()


def letters(picture):
    """Count the pixels that are almost as white as text on a dark ground."""
    return (picture > 180).all(2).sum()


@pytest.mark.parametrize('box', [(0, 0, 6, 6), (54, 0, 60, 6), (0, 34, 6, 40), (54, 34, 60, 40)])
def test_texts_stay_inside_the_picture(box):
    none = instances(labels=[], scores=[])
    pictures = [
        draw_detection(plain_image(), instances(b, labels=[0]), none, CLASSES, PALETTE)[1]
        for b in (box, (20, 18, 26, 24))  # the other one is far from every edge
    ]
    assert letters(pictures[0]) == letters(pictures[1]) > 10


def test_texts_do_not_hide_each_other():
    none = instances(labels=[], scores=[])
    one, two = (
        draw_detection(plain_image(), instances(*boxes, labels=[0] * len(boxes)), none, *STYLE)[1]
        for boxes in ([(4, 12, 24, 30)], [(4, 12, 24, 30), (5, 13, 24, 30)])
    )
    assert letters(two) == 2 * letters(one) > 20


def test_label_maps_are_tinted_and_ignored_pixels_left():
    gt = np.zeros((40, 60), int)
    gt[:, 30:] = 1
    gt[:10] = 255
    _, truth, guess = draw_segmentation(plain_image(), gt, torch.ones(40, 60).long(), PALETTE)
    assert (truth[:20] == GREY).all()
    assert (truth[20:, :60] == tinted(BLUE)).all()
    assert (truth[20:, 60:] == tinted(ORANGE)).all()
    assert (guess == tinted(ORANGE)).all()


def test_sheet_shows_every_picture_the_titles_and_the_legend(tmp_path):
    rows = [
        tuple(np.full((80, 120, 3), value, np.uint8) for value in values)
        for values in ((10, 20, 30), (40, 50, 60))
    ]
    path = save_contact_sheet(tmp_path / 'new/sheet.png', rows, CLASSES, PALETTE)
    assert path.is_absolute()
    assert [p.name for p in path.parent.iterdir()] == ['sheet.png']
    sheet = np.asarray(Image.open(path)).astype(int)
    for value in (10, 20, 30, 40, 50, 60):
        assert (sheet == value).all(2).sum() >= 80 * 120
    for colour in PALETTE:
        assert (sheet == colour).all(2).sum() > 200
    # Everything lies within a white frame; the titles stand above the pictures.
    frame = np.concatenate([sheet[:10].ravel(), sheet[-10:].ravel(), sheet[:, :10].ravel()])
    assert (frame == 255).all()
    assert (sheet[:, -10:] == 255).all()
    top = np.flatnonzero((sheet == 10).all(2).any(1))[0]
    for column in np.split(np.arange(sheet.shape[1]), [145, 275]):
        assert (sheet[:top, column] < 128).any()


@pytest.mark.parametrize('width', [30, 300])
def test_a_legend_below_a_picture(width):
    picture = np.full((40, width, 3), 7, np.uint8)
    names = ['a rather long name of a class', 'b']
    sheet = add_legend(picture, names, PALETTE)
    assert (sheet[:40, :width] == 7).all()
    assert (sheet[:, max(width, 1) :][:40] == 255).all()
    for colour in PALETTE:
        assert (sheet[40:] == colour).all(2).sum() > 200
    assert (sheet[-10:] == 255).all() and (sheet[40:, -8:] == 255).all()


@pytest.mark.parametrize('side', [200, 2000])
def test_found_objects_by_mask_or_box(side):
    image = np.full((side, side, 3), 100, np.uint8)
    boxes = torch.tensor([[0.1, 0.4, 0.3, 0.7], [0.5, 0.5, 0.9, 1.0], [0.1, 0.4, 0.35, 0.7]]) * side
    scores = torch.tensor([0.9, 0.2, 0.6])
    found = InstanceData(bboxes=boxes, labels=torch.tensor([0, 1, 1]), scores=scores)
    picture = draw_found(image, found, CLASSES, 0.3)
    own = distinct_colours(2)  # the surest object has the first colour
    assert picture.shape == image.shape
    left, top, right, bottom = boxes[0].round().int().tolist()
    middle = (top + bottom) // 2
    assert (picture[middle, left : left + 2] == own[0]).all()  # the surer one's edge, on top
    assert (picture[middle, left + 3 : right - 3] == 100).all()
    assert (picture[int(0.6 * side) :, int(0.5 * side) :] == 100).all()  # the unsure one
    # The names stand outside of the boxes.
    outside = picture.copy()
    outside[top:bottom, left : int(0.35 * side)] = 0
    height = max(12, side // 50) + 4
    for colour in own:
        assert (outside == colour).all(2).sum() > height**2

    # A class's own colour, if so wanted.
    picture = draw_found(image, found, CLASSES, 0.3, PALETTE)
    assert (picture[middle, left : left + 2] == BLUE).all()

    found.masks = torch.zeros(3, side, side, dtype=torch.bool)
    found.masks[0, top:bottom, left:right] = True
    picture = draw_found(image, found, CLASSES, 0.7)
    tinted = picture[middle, left + 3 : right - 3]
    assert (tinted == tinted[0]).all() and (tinted[0] != 100).any()


@pytest.mark.parametrize('with_masks', [False, True])
def test_a_crowd_of_one_class(with_masks):
    """Neighbours have colours that can be told apart, and each name touches its object."""
    places = [(40 * column, 60 * row) for row in range(3) for column in range(1, 8)]
    boxes = np.array([(x, y + 30, x + 40, y + 60) for x, y in places], float)
    found = InstanceData(bboxes=boxes, labels=np.zeros(21, int), scores=np.linspace(0.99, 0.79, 21))
    if with_masks:
        found.masks = np.zeros((21, 220, 400), bool)
        for mask, (left, top, right, bottom) in zip(found.masks, boxes.astype(int), strict=True):
            mask[top:bottom, left:right] = True
    picture = draw_found(np.full((220, 400, 3), GREY, np.uint8), found, CLASSES)
    edges = np.array([picture[int(y) + 15, int(x)] for x, y in boxes[:, :2]])
    views = as_seen(edges / 255)[0]
    for one, other in itertools.pairwise(views):  # of a row, or a row's ends
        assert np.linalg.norm(one - other) > 20
    for box, colour in zip(boxes, edges, strict=True):
        shared = (edges == colour).all(1).sum()
        rows, columns = np.nonzero((picture == colour).all(2))
        if shared == 1:
            assert box[0] - 80 < columns.min() and columns.max() < box[2] + 80
            assert box[1] - 17 < rows.min() and rows.max() < box[3] + 17


def test_what_a_sample_holds_is_drawn():
    """The truth stands to the left; a class and the classes of a map are named below."""
    image, meta = plain_image(), dict(classes=CLASSES, palette=PALETTE)
    found = DataSample(
        gt_instances=instances((4, 20, 24, 36), labels=[0]),
        pred_instances=instances((30, 20, 54, 36), labels=[1], scores=[0.9]),
    )
    both = draw_sample(image, found, meta, with_truth=True)
    assert both.shape == (40, 120, 3)
    assert (both[:, 60:] == draw_sample(image, found, meta)).all()
    assert (both[20:36, 4] == distinct_colours(1)[0]).all()
    frame = draw_sample(image, found, meta, is_frame=True)
    assert (frame[22:36, 30] == ORANGE).all()

    labels = torch.ones(1, 40, 60, dtype=int)
    labels[:, :, :9] = 250  # not scored
    mapped = DataSample(pred_sem_seg=PixelData(data=labels))
    frame = draw_sample(image, mapped, meta, is_frame=True)
    assert (frame[:, :9] == GREY).all() and (frame[:, 9:] == tinted(ORANGE)).all()
    with_legend = draw_sample(image, mapped, meta)
    assert (with_legend[:40, :60] == frame).all()
    assert (with_legend[40:] == ORANGE).all(2).sum() > 200

    segments = torch.full((1, 40, 60), 2)  # no class
    segments[:, 20:, :30], segments[:, 20:, 30:] = 1, 3001
    panoptic = draw_sample(image, DataSample(pred_panoptic_seg=PixelData(sem_seg=segments)), meta)
    assert (panoptic[39, :30] == distinct_colours(2)[0]).all()
    assert (panoptic[39, 30:] == distinct_colours(2)[1]).all()
    assert (panoptic[:5] == GREY).all()

    named = DataSample(pred_label=torch.tensor([1]), pred_score=torch.tensor([0.2, 0.8]))
    picture = draw_sample(image, named, dict(classes=CLASSES))
    assert (picture[:40, :60] == image).all() and len(picture) > 60
