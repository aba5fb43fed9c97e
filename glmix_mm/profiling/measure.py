"""Speed and peak memory of models at one image size and batch size.

Multiply-adds are those of inference as :func:`glmix_mm.profiling.count` counts them, before
anything is fused. A training step is taken for three times as many: the gradients of a product's
two factors are a product each.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from ..errors import UserError
from .flops import run_inference
from .memory import peak_bytes
from .samples import make_targets
from .timing import Timing, reason, time_in_turn

MATRIX_SIZE = 4096  # rows and columns of the matrices whose product tells the machine's rate
TRAINING = 3


@dataclass(frozen=True)
class Setup:
    """How models are run.

    Attributes:
        device: the CPU or a CUDA device.
        dtype: what autocast computes in; float32 is without autocast.
        mode: 'eval', the forward pass without gradients, or 'train', a forward and a backward pass:
            of the sum of all outputs of a backbone, of a whole model's losses on generated objects.
        execution: 'eager', 'compile' (``torch.compile``) or 'fused' (``model.fuse()``); of a whole
            model this concerns the backbone.
        rounds: how often each model is timed.
    """

    device: torch.device
    dtype: torch.dtype = torch.float32
    mode: str = 'eval'
    execution: str = 'eager'
    rounds: int = 5


@dataclass(frozen=True)
class Row:
    """What was measured of a model at one shape and batch size.

    Attributes:
        model: its name.
        shape: height and width of the images, px.
        batch_size: images in a batch.
        timing: seconds of a batch.
        peak: bytes held at a time at most, above the weights and the images; None after a failure.
        multiply_adds: of one image at inference; None if it could not be counted.
        matrix_rate: multiply-adds per second of a matrix product in the same type; None if unknown,
            or if the multiply-adds of inference say nothing about those of this run.
        passes: how many times the multiply-adds of inference a batch takes for each image.
    """

    model: str
    shape: tuple[int, int]
    batch_size: int
    timing: Timing
    peak: int | None
    multiply_adds: int | None
    matrix_rate: float | None
    passes: int = 1

    @property
    def images_per_second(self) -> float | None:
        """Return images per second, None after a failure."""
        return self.timing.median and self.batch_size / self.timing.median

    @property
    def share(self) -> float | None:
        """Return the multiply-adds per second as a share of the matrix rate."""
        if None in (self.timing.median, self.multiply_adds, self.matrix_rate):
            return None
        done = self.multiply_adds * self.passes * self.images_per_second
        return done / self.matrix_rate


def ready_models(models: Mapping[str, nn.Module], setup: Setup) -> dict[str, nn.Module]:
    """Bring models to the device, into their mode and their way of execution.

    Raises:
        UserError: a model cannot be fused, or not for this mode.
    """
    return {name: _prepare(name, model, setup) for name, model in models.items()}


def _prepare(name: str, model: nn.Module, setup: Setup) -> nn.Module:
    if setup.mode == 'train' and setup.execution == 'fused':
        raise UserError(
            f'{name}: fused backbones are for inference only; leave --execution fused out'
        )
    model.to(setup.device)
    model.train(setup.mode == 'train')  # without chaining: mmdet's Swin returns None
    backbone = getattr(model, 'backbone', model)
    if setup.execution == 'compile':
        backbone.compile(dynamic=False)
    elif setup.execution == 'fused':
        if not hasattr(backbone, 'fuse'):
            raise UserError(
                f'{name}: {type(backbone).__name__} has no fuse(); use --execution eager or compile'
            )
        backbone.fuse()
    return model


def measure(
    models: Mapping[str, nn.Module],
    multiply_adds: Mapping[str, int | None],
    shape: tuple[int, int],
    batch_size: int,
    setup: Setup,
) -> list[Row]:
    """Time models in turn, then take each one's peak memory in a run of its own.

    A model that fails has its reason in its row; the others are measured all the same.

    Args:
        models: prepared models by name.
        multiply_adds: theirs, of one image at inference.
        shape: height and width of the images, px.
        batch_size: images in a batch.
        setup: how they are run.
    """
    torch._dynamo.reset()  # else compiling for one shape more than a few falls back to eager
    images = torch.randn(batch_size, 3, *shape, device=setup.device)
    steps = {name: make_step(model, images, setup) for name, model in models.items()}
    functions = [*steps.values(), matrix_product(setup)]
    *timings, matrix = time_in_turn(functions, setup.rounds)
    rate = matrix.median and MATRIX_SIZE**3 / matrix.median
    rows = []
    for (name, step), timing in zip(steps.items(), timings, strict=True):
        peak = None if timing.error else _peak(step, timing, setup.device)
        passes = TRAINING if setup.mode == 'train' else 1
        # A detector trains on other numbers of regions than it infers on.
        whole_training = setup.mode == 'train' and isinstance(models[name], BaseModel)
        known_rate = None if whole_training else rate
        rows.append(
            Row(name, shape, batch_size, timing, peak, multiply_adds[name], known_rate, passes)
        )
    return rows


def make_step(model: nn.Module, images: Tensor, setup: Setup) -> Callable[[], None]:
    """Return a function that runs a model once on images (N, 3, H, W), as ``setup`` says."""

    def infer() -> None:
        with torch.no_grad(), _autocast(setup):
            run_inference(model, images)

    def train() -> None:
        with _autocast(setup):
            if isinstance(model, BaseModel):
                targets = make_targets(model, images)
                loss, _ = model.parse_losses(model.loss(images, targets))
            else:
                outputs = _tensors(model(images))
                loss = sum(output.sum(dtype=torch.float32) for output in outputs)
        loss.backward()
        # At the end, so that the gradients count as memory of this step and of no other.
        model.zero_grad(set_to_none=True)

    return train if setup.mode == 'train' else infer


def matrix_product(setup: Setup) -> Callable[[], Tensor]:
    """Return a function that multiplies two square matrices of ``MATRIX_SIZE``."""
    size = (MATRIX_SIZE, MATRIX_SIZE)
    a, b = (torch.randn(size, device=setup.device).to(setup.dtype) for _ in range(2))
    return lambda: torch.mm(a, b)


def _peak(step: Callable[[], None], timing: Timing, device: torch.device) -> int | None:
    try:
        return peak_bytes(step, device)
    except Exception as error:  # such as out of memory, if others hold more now
        timing.error = reason(error)
        return None


def _autocast(setup: Setup):
    if setup.dtype == torch.float32:
        return nullcontext()
    return torch.autocast(setup.device.type, setup.dtype)


def _tensors(outputs) -> Iterator[Tensor]:
    """Yield the tensors of a backbone's output: one, or several in a list, tuple or dict."""
    if isinstance(outputs, Tensor):
        yield outputs
    else:
        for output in outputs.values() if isinstance(outputs, Mapping) else outputs:
            yield from _tensors(output)
