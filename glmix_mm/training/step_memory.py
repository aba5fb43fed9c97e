"""How much memory one step of training takes at the largest shape that a config trains on."""

import copy
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from ..data.coco_checks import CocoFiles
from ..data.dataset_checks import build_unread
from ..data.paths import Place
from ..errors import UserError
from ..profiling.memory import peak_bytes
from ..profiling.samples import OBJECTS, make_targets
from ..utils.nested import unwrap

RESIZING = ('Resize', 'RandomResize', 'RandomChoiceResize', 'RandomResizedCrop')
CROPPING = ('RandomCrop',)
# What torch says of a batch norm that sees a single value, as UperNet's pooling to 1 x 1 leaves.
ONE_VALUE = 'Expected more than 1 value per channel'


@dataclass(frozen=True)
class Step:
    """What one training step took.

    Attributes:
        batch_size: images in it.
        held: bytes of weights, gradients and the optimizer's state, which stay.
        peak: bytes held at a time at most, these included.
        seconds: its duration; on the CPU with the records of the allocator, which cost time.
        warm: seconds of a second step, which does not allocate or compile any more; None if there
            was none.
    """

    batch_size: int
    held: int
    peak: int
    seconds: float
    warm: float | None = None


def training_shape(cfg: Config) -> tuple[int, int]:
    """Return the largest height and width, px, of a training batch.

    It follows from the pipeline's resizing, or cropping after it, and the padding of batches;
    images that keep their proportions are as long and as short as the scale allows. Without a
    resizing step it is that of the largest image that the annotations state.

    Raises:
        UserError: neither says it.
    """
    settings = next(unwrap(cfg.train_dataloader.dataset))
    preprocessor = {
        **(cfg.get('data_preprocessor') or {}),
        **(cfg.model.get('data_preprocessor') or {}),
    }
    shape = _shape_after(settings.get('pipeline', ()), None, cfg.get('default_scope'))
    shape = shape or _largest_image(cfg, settings)
    batches = cfg.train_dataloader.get('batch_sampler') or {}
    if batches.get('type') != 'AspectRatioBatchSampler' and cfg.get('default_scope') == 'mmdet':
        shape = (max(shape), max(shape))  # upright and lying images may meet in a batch
    if preprocessor.get('size'):
        shape = tuple(map(max, shape, preprocessor['size']))
    divisor = preprocessor.get('pad_size_divisor') or 1
    return tuple(math.ceil(side / divisor) * divisor for side in shape)


def _shape_after(
    steps: Sequence[Mapping], shape: tuple[int, int] | None, scope: str | None
) -> tuple[int, int] | None:
    """Return the shape that a pipeline's steps make of one; None where none says it."""
    for step in steps:
        if step['type'] in RESIZING:
            shape = _resized(step)
        elif step['type'] in CROPPING:
            crop = step['crop_size']
            crop = (crop, crop) if isinstance(crop, int) else tuple(crop)
            shape = crop if scope == 'mmseg' else crop[::-1]
        elif step['type'] == 'RandomChoice':
            choices = [[c] if isinstance(c, Mapping) else c for c in step['transforms']]
            shapes = [_shape_after(choice, shape, scope) for choice in choices]
            shape = max(filter(None, shapes), key=math.prod, default=None)
    return shape


def _resized(step: Mapping) -> tuple[int, int]:
    scales = step.get('scales') or [step.get('scale')]
    scales = [(scale, scale) if isinstance(scale, int) else tuple(scale) for scale in scales]
    ratio = max(step.get('ratio_range') or (1,)) if step['type'] == 'RandomResize' else 1
    width, height = max(scales, key=math.prod)
    return int(height * ratio), int(width * ratio)


def _largest_image(cfg: Config, settings: Mapping) -> tuple[int, int]:
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        dataset = build_unread('train', settings)
    if not str(dataset.ann_file).endswith('.json'):
        raise UserError(
            f'{cfg.filename}: no step of the training pipeline says how large its images are; add '
            "dict(type='Resize', scale=(width, height)) to it"
        )
    found = CocoFiles().read(dataset.ann_file, Place('train', dataset.data_root))
    widths, heights = zip(*found.annotations.sizes.values(), strict=True)
    return max(heights), max(widths)


@torch.no_grad()
def check_single_image(cfg: Config, model: nn.Module, option: str) -> None:
    """Check that a segmentor or a classifier trains on a batch of one image.

    Args:
        cfg: the whole config.
        model: its model; a copy is run once, at the training shape, on the CPU.
        option: what avoids such batches, for the message.

    Raises:
        UserError: a batch norm would see a single value of each channel, which torch refuses.
    """
    model = revert_sync_batchnorm(copy.deepcopy(model)).train()
    seen: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, (_NormBase, nn.GroupNorm)):
            module.register_forward_pre_hook(lambda *_, name=name: seen.append(name))
    try:
        image = torch.zeros(1, 3, *training_shape(cfg))
        model.loss(image, make_targets(model, image))
    except Exception as error:
        if ONE_VALUE not in str(error):
            return  # the shape is not known, or training itself will say it, with real targets
        raise UserError(
            f'{cfg.filename}: with one image per batch, the norm model.{seen[-1]} sees one value '
            'per channel (a map of 1 x 1), which torch refuses; set --cfg-options '
            f'{option}, or {_other_norm(model, seen[-1])}'
        ) from error


def _other_norm(model: nn.Module, name: str) -> str:
    """Return how a model does without a norm that needs several values."""
    part, norm = name.split('.')[0], model.get_submodule(name)
    if not part.endswith('head'):
        return 'train on larger images (crop_size)'
    channels = norm.num_channels if isinstance(norm, nn.GroupNorm) else norm.num_features
    groups = math.gcd(32, channels // 2)  # of two channels or more
    return (
        f'a norm that needs no batch, model.{part}.norm_cfg.type=GN '
        f'model.{part}.norm_cfg.num_groups={groups}'
    )


def most_objects(model: Mapping) -> int:
    """Return how many objects an image needs for a step as large as any.

    Mask heads work on the regions that are sampled as objects, at most this many, which a trained
    network finds on most images.
    """
    settings = (model.get('train_cfg') or {}).get('rcnn') or []
    stages = settings if isinstance(settings, (list, tuple)) else [settings]
    samplers = [stage.get('sampler') or {} for stage in stages]
    quotas = [int(s['num'] * s['pos_fraction']) for s in samplers if 'pos_fraction' in s]
    return max([OBJECTS, *quotas])


@contextmanager
def _only_warnings() -> Iterator[None]:
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _fill(model: nn.Module) -> None:
    """Give all weights numbers: some of mmdet's detectors make theirs of memory as they find it.

    Without pretrained weights, which may have to be fetched and make no step larger.
    """
    for module in model.modules():
        if getattr(module, 'init_cfg', None):
            module.init_cfg = None
    model.init_weights()


class Prober:
    """Runs training steps of a config on random images.

    Args:
        cfg: the whole config.
        model: its model; it is moved to the device and trained on noise.
        device: where to.
    """

    def __init__(self, cfg: Config, model: nn.Module, device: torch.device):
        self.device, self.objects = device, most_objects(cfg.model)
        self.shape = training_shape(cfg)
        with _only_warnings():
            _fill(model)
        self.model = model.to(device)
        self.model.train()
        # One step of the optimizer a batch: with accumulation, gradients stay in place, as here.
        settings = copy.deepcopy(cfg.optim_wrapper)
        settings.pop('accumulative_counts', None)
        with _only_warnings():  # a line for each parameter with options of its own
            self.wrapper: OptimWrapper = build_optim_wrapper(self.model, settings)

    @property
    def precision(self) -> str:
        """Return what the step computes in, and where."""
        dtype = getattr(self.wrapper, 'cast_dtype', torch.float32)
        return f'{str(dtype).removeprefix("torch.")} on {self.device.type}'

    def trains_batch_norms(self) -> bool:
        """Return whether batch norms take the statistics of the batch."""
        return any(isinstance(m, _BatchNorm) and m.training for m in self.model.modules())

    def run(self, batch_size: int, timed: bool = False) -> Step | None:
        """Measure a step of this many images; None if the GPU's memory is too small for it.

        Args:
            batch_size: the images.
            timed: whether to make a second step, for its time.
        """
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        images = torch.randn(batch_size, 3, *self.shape, device=self.device)
        targets = make_targets(self.model, images, self.objects)
        try:
            for parameter in parameters:
                parameter.grad = torch.zeros_like(parameter)
            self.wrapper.optimizer.step()  # makes the optimizer's state
            held = sum(tensor.nbytes for tensor in self._tensors(parameters))
            start = time.perf_counter()
            above = peak_bytes(lambda: self._step(images, targets), self.device)
            seconds = time.perf_counter() - start
            warm = self._time(images, targets) if timed else None
            return Step(batch_size, held, held + above, seconds, warm)
        except torch.OutOfMemoryError:
            return None
        finally:
            self.model.zero_grad(set_to_none=True)

    def run_two(self, timed: bool = False) -> dict[int, Step | None]:
        """Measure the two smallest batches that train; return the steps by their images.

        Args:
            timed: whether to make a second step of the larger one, for its time.
        """
        try:
            return {1: self.run(1), 2: self.run(2, timed)}
        except ValueError as error:
            if ONE_VALUE not in str(error):
                raise
            return {2: self.run(2), 3: self.run(3, timed)}

    def _time(self, images: Tensor, targets: Sequence) -> float:
        """Return the seconds of a step."""
        start = time.perf_counter()
        self._step(images, targets)
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - start

    def _step(self, images: Tensor, targets: Sequence) -> None:
        targets = copy.deepcopy(targets)  # some heads change theirs
        with self.wrapper.optim_context(self.model):
            loss, _ = self.model.parse_losses(self.model.loss(images, targets))
        self.wrapper.update_params(loss)

    def _tensors(self, parameters: Sequence[nn.Parameter]) -> Iterator[Tensor]:
        yield from self.model.parameters()
        yield from self.model.buffers()
        yield from (parameter.grad for parameter in parameters)
        for state in self.wrapper.optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))
