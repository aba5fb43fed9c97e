"""What is exported of a model: one or more modules from tensors to tensors.

Segmentors and classifiers are one graph, up to their logits. So is RetinaNet, up to the scores and
deltas of its anchors. Mask R-CNN is three: the image to the RPN's scores and deltas and the feature
maps; these maps and boxes to the boxes' scores and deltas; these maps and boxes to masks. Between
them stands non-maximum suppression, which is the caller's (:mod:`glmix_mm.deploy.runner`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torchvision
from torch import Tensor, nn

from ..models.ops.portable import adaptive_avg_pool2d

BOXES, MASKS = 'boxes', 'masks'  # names of Mask R-CNN's second and third graph
EXAMPLE_BOXES = 5


class Graph(NamedTuple):
    """A module to export.

    Attributes:
        name: '' for the graph that takes the image, else what its file's name is extended by.
        module: takes and returns tensors, or lists of them.
        examples: its arguments.
        inputs, outputs: names of the tensors that go in and come out.
        dynamic: for each argument, the axes of any size of its tensors.
    """

    name: str
    module: nn.Module
    examples: tuple
    inputs: list[str]
    outputs: list[str]
    dynamic: tuple


class BackboneGraph(nn.Module):
    """Image to the maps of a backbone's outputs."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.backbone = model.backbone

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map (N, 3, H, W) to maps (N, C_i, h_i, w_i)."""
        return self.backbone(image)


class LogitsGraph(nn.Module):
    """Image to the logits of a classifier, (N, classes), or of a segmentor, (N, classes, h, w)."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, 3, H, W) to logits, a segmentor's at its head's own resolution."""
        return self.model(image)  # mode='tensor'


class AnchorGraph(nn.Module):
    """Image to scores and deltas of the anchors; for Mask R-CNN, these of its RPN and the maps."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.maps = model.roi_head.bbox_roi_extractor.num_inputs if _has_rois(model) else 0

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map (N, 3, H, W) to logits (N, A * classes, h_i, w_i), deltas (N, A * 4, h_i, w_i), maps.

        One of each for each level of the pyramid; maps of those that regions are pooled from.
        """
        maps = self.model.extract_feat(image)
        head = self.model.rpn_head if self.maps else self.model.bbox_head
        scores, deltas = head(maps)
        return (*scores, *deltas, *maps[: self.maps])


class RegionFeatures(nn.Module):
    """mmdet's ``SingleRoIExtractor`` without a choice of rows, which would depend on the data.

    Every box is pooled from every level, from all but its own as an empty box, and the results are
    added up. An empty box costs nothing to pool.
    """

    def __init__(self, extractor: nn.Module):
        super().__init__()
        self.layers = list(extractor.roi_layers)
        self.finest_scale = extractor.finest_scale

    def forward(self, boxes: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Map boxes (R, 4), in px of the image, and maps (1, C, h_i, w_i) to (R, C, size, size)."""
        width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        level = torch.floor(torch.log2((width * height).sqrt() / self.finest_scale + 1e-6))
        level = level.clamp(0, len(self.layers) - 1)
        total = 0
        for place, (layer, map_) in enumerate(zip(self.layers, maps, strict=True)):
            own = (level == place).to(boxes.dtype).unsqueeze(1)  # (R, 1)
            total = total + own[..., None, None] * roi_align(map_, boxes * own, layer)
        return total


class BoxGraph(nn.Module):
    """Boxes and maps to the logits and deltas of Mask R-CNN's box head."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.features = RegionFeatures(model.roi_head.bbox_roi_extractor)
        self.head = model.roi_head.bbox_head

    def forward(self, boxes: Tensor, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits (R, classes + 1) and deltas (R, 4), or (R, 4 * classes)."""
        return self.head(self.features(boxes, maps))


class MaskGraph(nn.Module):
    """Boxes and maps to the probabilities of Mask R-CNN's mask head."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.features = RegionFeatures(model.roi_head.mask_roi_extractor)
        self.head = model.roi_head.mask_head

    def forward(self, boxes: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Return probabilities (R, classes, size, size), of one class if they are agnostic."""
        return self.head(self.features(boxes, maps)).sigmoid()


class AdaptivePool(nn.Module):
    """``torch.nn.AdaptiveAvgPool2d`` that can be exported for any size."""

    def __init__(self, grid: tuple[int, int]):
        super().__init__()
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C, rows, columns)."""
        return adaptive_avg_pool2d(x, self.grid)


class Upsample(nn.Module):
    """mmseg's ``Upsample`` by a whole factor, without a detour by floating-point sizes."""

    def __init__(self, factor: int, mode: str, align_corners: bool | None):
        super().__init__()
        self.factor, self.mode, self.align_corners = factor, mode, align_corners

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C, factor * h, factor * w)."""
        size = [side * self.factor for side in x.shape[2:]]
        return nn.functional.interpolate(x, size, mode=self.mode, align_corners=self.align_corners)


def roi_align(x: Tensor, boxes: Tensor, layer: nn.Module) -> Tensor:
    """Pool boxes (R, 4) of one image's map (1, C, h, w) as an mmcv ``RoIAlign`` layer does."""
    if not torch.onnx.is_in_onnx_export():
        ratio = layer.sampling_ratio or -1
        rois = nn.functional.pad(boxes, [1, 0])
        return torchvision.ops.roi_align(
            x, rois, layer.output_size, layer.spatial_scale, ratio, layer.aligned
        )
    # The exporter has no translation of torchvision's; ONNX has the same operation.
    height, width = layer.output_size
    settings = dict(
        mode='avg',
        output_height=height,
        output_width=width,
        sampling_ratio=layer.sampling_ratio,
        spatial_scale=float(layer.spatial_scale),
        coordinate_transformation_mode='half_pixel' if layer.aligned else 'output_half_pixel',
    )
    image = boxes.new_zeros(boxes.shape[0], dtype=torch.int64)
    shape = (boxes.shape[0], x.shape[1], height, width)
    return torch.onnx.ops.symbolic(
        'RoiAlign', (x, boxes, image), settings, dtype=x.dtype, shape=shape
    )


def make_portable(model: nn.Module) -> None:
    """Replace, in place, those of mmseg's layers that cannot be exported for any size."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                grid = child.output_size
                grid = (grid, grid) if isinstance(grid, int) else tuple(grid)
                setattr(parent, name, AdaptivePool(grid))
            elif type(child).__name__ == 'Upsample' and isinstance(child.scale_factor, float):
                factor = int(child.scale_factor)
                setattr(parent, name, Upsample(factor, child.mode, child.align_corners))


@torch.no_grad()
def make_graphs(model: nn.Module, task: str, image: Tensor) -> list[Graph]:
    """Return the graphs of a model in evaluation mode.

    Args:
        model: a model that :func:`glmix_mm.deploy.settings.find_task` knows.
        task: what that returned.
        image: an example, (N, 3, H, W).
    """
    make_portable(model)
    any_image = {0: 'batch', 2: 'height', 3: 'width'}
    if task == 'backbone':
        names = [f'map{i}' for i in model.backbone.out_indices]
        return [Graph('', BackboneGraph(model), (image,), ['image'], names, (any_image,))]
    if task in ('classification', 'segmentation'):
        return [Graph('', LogitsGraph(model), (image,), ['image'], ['logits'], (any_image,))]
    first = AnchorGraph(model)
    outputs = first(image)
    maps = [map_[:1] for map_ in outputs[len(outputs) - first.maps :]]  # of one image
    levels = (len(outputs) - first.maps) // 2
    kinds = [('scores', levels), ('deltas', levels), ('map', first.maps)]
    names = [f'{kind}{level}' for kind, count in kinds for level in range(count)]
    graphs = [Graph('', first, (image,), ['image'], names, (any_image,))]
    if maps:
        sides = torch.rand(EXAMPLE_BOXES, 4) * 40 + torch.tensor([0, 0, 40, 40])
        arguments = (sides, maps)
        inputs = ['boxes', *names[-first.maps :]]
        dynamic = ({0: 'boxes'}, [{2: f'height{i}', 3: f'width{i}'} for i in range(len(maps))])
        graphs += [
            Graph(BOXES, BoxGraph(model), arguments, inputs, ['logits', 'deltas'], dynamic),
            Graph(MASKS, MaskGraph(model), arguments, inputs, ['masks'], dynamic),
        ]
    return graphs


def _has_rois(model: nn.Module) -> bool:
    return hasattr(model, 'roi_head')
