"""Exports a trained model to ONNX, or to torch.export's format: what ``glmix export`` calls."""

import contextlib
import importlib.util
import json
import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from torch import nn
from torch.utils._pytree import tree_map

from ..checkpoints.fit import check_fit, read, weights_of
from ..config.load_config import load_config
from ..errors import UserError
from ..inference.predict import find_classes
from ..models.backbone import MIN_SIZE
from ..models.build import build_model
from ..models.pretrained import load_pretrained
from ..training.official_weights_hook import accept_official
from ..utils.atomic_files import write_atomically
from ..utils.parsers import export_parser
from .compare_outputs import check_outputs, compare_latency
from .graphs import Graph, make_graphs
from .settings import find_task, fixed_size, runner_settings

ONNX, TORCH = '.onnx', '.pt2'
PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
SETTINGS = 'glmix_mm'  # key in the file's metadata
RUNNER = 'run_onnx.py'
EXAMPLE_SIZE = (160, 224)  # px; for any size, all stages' maps differ in their sides
OTHER_SIZES = ((97, 131), (64, 203))  # px; what a graph for any size is checked at as well


def main(argv: Sequence[str]) -> None:
    """Export as the command line says.

    Raises:
        UserError: a mistake in the arguments, the config or the checkpoint, or a model that cannot
            be exported.
    """
    args = export_parser().parse_args(argv)
    cfg = load_config(args.config)
    if args.latency and args.out.suffix != ONNX:
        raise UserError(f'--latency times ONNX Runtime, which does not run {args.out}')
    with contextlib.redirect_stdout(sys.stderr):  # stdout lists the files alone
        model, classes = load_for_export(cfg, args.checkpoint, args.backbone)
    export(cfg, model, classes, args.out, args.size, args.dynamic, args.backbone, args.latency)


def load_for_export(
    cfg: Config, checkpoint: str, backbone_alone: bool = False
) -> tuple[nn.Module, list[str]]:
    """Return the config's model with the weights of a checkpoint, and its classes' names.

    Args:
        cfg: the config.
        checkpoint: of the whole model; or with ``backbone_alone`` also of a backbone.
        backbone_alone: whether the rest of the model does not matter. There are no classes then.

    Raises:
        UserError: the checkpoint does not fit.
    """
    model = build_model(cfg)
    if backbone_alone:
        find_task(model, cfg, backbone_alone)
        load_pretrained(model.backbone, checkpoint, model.backbone.renames)
        classes = []
    else:
        content = accept_official(cfg, model, read(checkpoint), checkpoint)
        check_fit(model.state_dict(), content, checkpoint, cfg)
        model.load_state_dict(weights_of(content, checkpoint), strict=False)
        classes = find_classes(cfg, content)['classes']
    return revert_sync_batchnorm(model).eval().requires_grad_(False), classes


def export(
    cfg: Config,
    model: nn.Module,
    classes: Sequence[str],
    out: Path,
    size: Sequence[int] | None = None,
    dynamic: bool = False,
    backbone_alone: bool = False,
    latency: bool = False,
) -> list[Path]:
    """Export a model, compare the files' results with the model's, and print the difference.

    Args:
        cfg: the config.
        model: in evaluation mode, as :func:`load_for_export` returns it. It is changed for export.
        classes: names.
        out: the file of the graph that takes the image; others' names extend its.
        size: height and width of the image in px; by default the config's.
        dynamic: whether the files take images of any size from 32 px, and any number of them.
        backbone_alone: whether to export the backbone alone.
        latency: whether to time the first graph, at the config's size where any is taken.

    Returns:
        The files.

    Raises:
        UserError: the model cannot be exported, or a file cannot be written.
    """
    if out.suffix not in (ONNX, TORCH):
        raise UserError(f'{out}: expected a name that ends in {ONNX} or {TORCH}')
    missing = [name for name in PACKAGES if not importlib.util.find_spec(name)]
    if out.suffix == ONNX and missing:
        raise UserError(f'export to ONNX needs more packages: pip install {" ".join(missing)}')
    task = find_task(model, cfg, backbone_alone)
    if size and min(size) < MIN_SIZE:
        raise UserError(f'--size {size[0]} {size[1]}: both must be at least {MIN_SIZE} px')
    if dynamic:
        _check_slot_grid(model)
    size = None if dynamic else tuple(size or fixed_size(cfg, task))
    settings = json.dumps(runner_settings(cfg, model, task, classes, size))
    # The exporter takes a size of 1 for a rule: any number of images is shown as 2.
    shape = (1 if size else 2, 3, *(size or EXAMPLE_SIZE))
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    files = []
    for graph in make_graphs(model, task, image):
        path = out.with_suffix(f'.{graph.name}{out.suffix}') if graph.name else out
        write_graph(graph, path, dynamic, settings)
        print(path, flush=True)
        files.append(path)
        if out.suffix == ONNX:
            sizes = OTHER_SIZES if dynamic and not graph.name else ()
            print(check_outputs(graph, path, sizes), flush=True)
        if latency and not graph.name:
            print(compare_latency(graph, path, size or fixed_size(cfg, task)), flush=True)
    if out.suffix == ONNX and task != 'backbone':
        files.append(out.with_name(RUNNER))
        write_atomically(files[-1], Path(__file__).with_name('runner.py').read_bytes())
        print(files[-1], flush=True)
    return files


def _check_slot_grid(model: nn.Module) -> None:
    """Refuse slots whose number depends on the image: a graph would hold the example's."""
    for module in model.modules():
        grid = getattr(module, 'slot_grid', None)
        if isinstance(grid, Mapping):
            raise UserError(
                f"--dynamic: slot_grid={dict(grid)} depends on the image's size, which a graph for "
                'any size cannot follow; export for one --size, or set slot_grid=(rows, columns)'
            )


@torch.no_grad()
def write_graph(graph: Graph, path: Path, dynamic: bool, settings: str) -> None:
    """Write one graph, with its weights and settings in the same file.

    Args:
        graph: what to write.
        path: the file, .onnx or .pt2.
        dynamic: whether images may be of any size. The number of boxes always is.
        settings: text to put into the file.
    """
    axes = graph.dynamic if dynamic else _boxes_alone(graph)
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter('ignore')
        if path.suffix == ONNX:
            program = torch.onnx.export(
                graph.module,
                graph.examples,
                input_names=graph.inputs,
                output_names=graph.outputs,
                dynamic_shapes=axes,
                dynamo=True,
                verbose=False,
            )
            program.model.metadata_props[SETTINGS] = settings
            write_atomically(path, program.model_proto.SerializeToString())
            return
        axes = tree_map(lambda name: torch.export.Dim.DYNAMIC, axes)
        program = torch.export.export(graph.module, graph.examples, dynamic_shapes=axes)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.export.save(program, path, extra_files={SETTINGS: settings})


def _boxes_alone(graph: Graph) -> tuple:
    """Return the axes that have any size whatever the image: the number of boxes."""
    if not graph.name:
        return ({},)
    return graph.dynamic[0], [{} for _ in graph.dynamic[1]]


@contextlib.contextmanager
def _quiet():
    """Silence what the exporter logs of its own inner steps."""
    logger = logging.getLogger('torch.onnx')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
