"""What only importing tells. Run as a script, in a process of its own: an import can end one.

``python probe.py OUT CONFIG [DATA_ROOT]`` appends lines of json to the file OUT, each as soon as
it is known: ``[topic, facts]``. Before each topic stands ``[topic, null]``, so that the last line
names what a process died of.
"""

import importlib
import json
import sys
from collections.abc import Callable, Iterator

# glmix_mm readies the platform, so it comes before what it makes importable.
MODULES = (
    'numpy',
    'torch',
    'torchvision',
    'cv2',
    'pkg_resources',
    'mmengine',
    'glmix_mm',
    'mmcv',
    'mmcv.ops',
    'mmdet.apis',
    'mmseg.apis',
    'mmpretrain',
)


def module_facts(name: str) -> dict:
    """Import a module; return its version and file."""
    module = importlib.import_module(name)
    return dict(
        version=getattr(module, '__version__', None), file=getattr(module, '__file__', None)
    )


def numpy_bridge() -> dict:
    """Pass numbers from torch to numpy and back, which fails where one was built for another."""
    import torch

    return dict(sum=float(torch.from_numpy(torch.ones(2).numpy()).sum()))


def used_devices() -> list[str]:
    """Return the devices on which ops have to work."""
    import torch

    return ['cpu', 'cuda'] if torch.cuda.is_available() else ['cpu']


def torchvision_ops() -> dict:
    """Call an op of torchvision, which fails where it was built for another torch."""
    import torch
    import torchvision

    for device in used_devices():
        boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0]], device=device)
        torchvision.ops.nms(boxes, boxes[:, 2], 0.5)
    return dict(devices=used_devices())


def mmcv_ops() -> dict:
    """Call mmcv's NMS and RoIAlign; return who computes them."""
    import mmcv.ops
    import torch

    for device in used_devices():  # a compiled mmcv may lack those of CUDA
        boxes = torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0]], device=device)
        mmcv.ops.nms(boxes[:, 1:], boxes[:, 4], 0.5)
        mmcv.ops.RoIAlign(1)(torch.ones(1, 1, 4, 4, device=device), boxes)
    served = sys.modules['mmcv._ext'].__spec__.origin == 'glmix_mm'
    return dict(by='torchvision' if served else 'compiled')


def gpu_facts() -> dict:
    """Return what torch finds of CUDA, after one product on each device."""
    import torch

    facts = dict(cuda=torch.version.cuda, hip=torch.version.hip, devices=[])
    if not torch.cuda.is_available():
        return facts
    facts['bf16'] = torch.cuda.is_bf16_supported(including_emulation=False)
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        ones = torch.ones(8, 8, device=f'cuda:{number}')
        (ones @ ones).sum().item()  # fails where torch has no kernels for this device
        facts['devices'].append(dict(name=properties.name, memory=properties.total_memory))
    return facts


def data_facts(config: str, data_root: str | None) -> dict:
    """Look for the files and folders that the config's data sets name; nothing is read."""
    from glmix_mm.config.data_root import apply_data_root
    from glmix_mm.config.load_config import load_config
    from glmix_mm.data.dataset_checks import check_places

    cfg = load_config(config)
    if data_root:
        apply_data_root(cfg, data_root)
    return dict(folders=check_places(cfg, ['train', 'val']))


def weights_facts(config: str) -> dict:
    """Look for the pretrained checkpoints that the config names."""
    from glmix_mm.config.edits import pretrained_checkpoints
    from glmix_mm.config.load_config import load_config
    from glmix_mm.training.train import check_pretrained

    names = list(pretrained_checkpoints(load_config(config).model))
    for name in names:
        check_pretrained(name)
    return dict(names=names)


def layers_facts(config: str) -> dict:
    """Build the config's model, and look for layers whose op is not there."""
    from glmix_mm.compat.unserved_layers import check_layers
    from glmix_mm.config.load_config import load_config
    from glmix_mm.models.build import build_model

    cfg = load_config(config)
    check_layers(build_model(cfg), cfg.model)
    return dict(type=str(cfg.model.type))


def topics(config: str, data_root: str | None) -> Iterator[tuple[str, Callable[[], dict]]]:
    """Yield what to find out, in this order."""
    for name in MODULES:
        yield name, lambda name=name: module_facts(name)
    yield 'numpy bridge', numpy_bridge
    yield 'torchvision ops', torchvision_ops
    yield 'ops', mmcv_ops
    yield 'gpu', gpu_facts
    yield 'data', lambda: data_facts(config, data_root)
    yield 'weights', lambda: weights_facts(config)
    yield 'layers', lambda: layers_facts(config)


def main(out: str, config: str, data_root: str | None = None) -> None:
    """Append a line before and after each topic; an error is a fact like another."""
    with open(out, 'a', encoding='utf-8') as file:
        for name, find in topics(config, data_root):
            print(json.dumps([name, None]), file=file, flush=True)
            try:
                facts = find()
            except (Exception, SystemExit) as error:
                text = ' '.join(str(error).split())
                facts = dict(error=f'{type(error).__name__}: {text}', kind=type(error).__name__)
            print(json.dumps([name, facts]), file=file, flush=True)


if __name__ == '__main__':
    sys.path.pop(0)  # this script's own folder
    main(*sys.argv[1:])
