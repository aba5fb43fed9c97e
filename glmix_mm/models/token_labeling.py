"""Token labeling (LV-ViT, arXiv 2104.10858) as GLNet's authors train with it: classifier and head.

Besides the image, each position of the last map is classified, by an auxiliary linear layer. What
it should give comes from a stronger network's scores (:mod:`glmix_mm.data.tokenlabels`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from mmengine.registry import MODELS
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torchvision.ops import roi_align

STRIDE = 32  # pixels: of the last map, whose positions are labelled
STEM_STRIDE = 4  # pixels: of the map whose patches are mixed
DENSE_SHARE = 0.5  # of the auxiliary logits in an evaluation's


class Box(NamedTuple):
    """A rectangle of positions, the ends excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def area(self) -> int:
        """Return the number of positions."""
        return (self.bottom - self.top) * (self.right - self.left)

    def scaled(self, factor: int) -> 'Box':
        """Return the same rectangle on a map of that many times the resolution."""
        return Box(*(factor * edge for edge in self))


def random_box(height: int, width: int) -> Box:
    """Draw the rectangle of CutMix (arXiv 1905.04899) on a map of that many positions.

    Its share of the area is uniform from 0 to 1 before the map's edges cut it off.
    """
    share = np.sqrt(np.random.uniform())
    edges = []
    for size in (height, width):
        half = int(size * share) // 2
        centre = np.random.randint(size)
        edges.append((max(centre - half, 0), min(centre + half, size)))
    (top, bottom), (left, right) = edges
    return Box(int(top), int(left), int(bottom), int(right))


def mix(maps: Tensor, box: Box) -> Tensor:
    """Exchange a rectangle between the images of a batch, the first with the last and so on.

    Args:
        maps: (N, C, h, w).
        box: in positions of the maps.
    """
    place = (..., slice(box.top, box.bottom), slice(box.left, box.right))
    mixed = maps.clone()
    mixed[place] = maps.flip(0)[place]
    return mixed


@contextmanager
def mixed_tokens(stem: nn.Module, box: Box) -> Iterator[None]:
    """Mix what the stem gives inside the context; the box is in positions of the last map."""
    fine = box.scaled(STRIDE // STEM_STRIDE)
    handle = stem.register_forward_hook(lambda module, inputs, tokens: mix(tokens, fine))
    try:
        yield
    finally:
        handle.remove()


def spread(token_labels: Tensor, num_classes: int) -> Tensor:
    """Return the scores of all classes from those of the most likely ones; the others' are 0.

    Args:
        token_labels: (N, 2, k, h, w), k scores and the numbers of their classes.
        num_classes: how many classes there are.

    Returns:
        (N, num_classes, h, w).
    """
    scores, classes = token_labels.unbind(1)
    n, _, height, width = scores.shape
    return scores.new_zeros(n, num_classes, height, width).scatter_(1, classes.long(), scores)


def crop_targets(
    scores: Tensor, crops: Tensor, size: tuple[int, int], smoothing: float
) -> tuple[Tensor, Tensor]:
    """Return what an image's positions and the image as a whole should be classified as.

    The scores are averaged over each position's part of the crop (RoIAlign), then softmax and
    label smoothing follow. The authors' code hands RoIAlign the crop's rows as its columns; here
    the labels are those of the place that the network sees.

    Args:
        scores: (N, K, h, w), of the whole images.
        crops: (N, 4), left, top, right and bottom of what was cut out, as parts of the image.
        size: positions of the network's last map.
        smoothing: how much of each distribution goes to all classes alike.

    Returns:
        Distributions over the classes of the positions, (N, K, *size), and the images, (N, K).
    """
    n, num_classes, height, width = scores.shape
    rois = crops * crops.new_tensor([width, height, width, height])
    rois = torch.cat([torch.arange(n, device=rois.device)[:, None].to(rois), rois], 1)
    cells = roi_align(scores, rois, size, aligned=True)
    whole = roi_align(scores, rois, 1, aligned=True).flatten(1)
    return tuple(
        part.softmax(1) * (1 - smoothing) + smoothing / num_classes for part in (cells, whole)
    )


@MODELS.register_module()
class TokenLabelHead(LinearClsHead):
    """Classifies the image by the mean over positions, and each position.

    Args:
        num_classes: number of classes K.
        in_channels: channels C of the last map.
        dense_weight: weight of the positions' loss beside the image's.
        smoothing: label smoothing.
        **kwargs: as mmpretrain's ``LinearClsHead``; the loss must take distributions.
    """

    def __init__(
        self, num_classes: int, in_channels: int, dense_weight: float, smoothing: float, **kwargs
    ):
        super().__init__(num_classes, in_channels, **kwargs)
        self.dense_weight = dense_weight
        self.smoothing = smoothing
        self.dense_fc = nn.Linear(in_channels, num_classes)

    def logits(self, feats: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Map normalised map and mean to logits of the image (N, K) and positions (N, h, w, K)."""
        return self.fc(feats[-1]), self.dense_fc(feats[-2].permute(0, 2, 3, 1))

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Return the logits of an evaluation, (N, K): a position that is sure of a class adds."""
        whole, dense = self.logits(feats)
        return whole + DENSE_SHARE * dense.flatten(1, 2).amax(1)

    def loss(self, feats: Sequence[Tensor], data_samples: list[DataSample], box: Box) -> dict:
        """Return the losses of the image and of its positions.

        Args:
            feats: map and mean of mixed images.
            data_samples: with ``token_labels`` and ``crop``.
            box: what was mixed, in positions of the map.
        """
        whole, dense = self.logits(feats)
        size = dense.shape[1:3]
        labels, crops = (
            torch.as_tensor(np.stack([sample.get(key) for sample in data_samples]))
            for key in ('token_labels', 'crop')
        )
        scores = spread(labels.to(whole.device), self.num_classes)
        cells, image = crop_targets(scores, crops.to(scores), size, self.smoothing)
        cells = mix(cells, box).permute(0, 2, 3, 1)
        image = image.lerp(image.flip(0), box.area / size.numel())
        dense_loss = self.loss_module(dense.flatten(0, 2), cells.flatten(0, 2))
        return dict(
            loss_image=self.loss_module(whole, image), loss_dense=self.dense_weight * dense_loss
        )


@MODELS.register_module()
class TokenLabelClassifier(ImageClassifier):
    """mmpretrain's classifier, trained with patches of its images exchanged after the stem."""

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict:
        """Return the losses of images (N, 3, H, W) whose samples hold token labels."""
        box = random_box(*(side // STRIDE for side in inputs.shape[2:]))
        with mixed_tokens(self.backbone.stages[0].embed, box):
            feats = self.extract_feat(inputs)
        return self.head.loss(feats, data_samples, box)
