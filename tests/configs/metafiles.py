"""What the metafiles say, from the configs: run this file to write them again.

OpenMMLab's tools read them through model-index.yml. Parameters and multiply-adds are counted as
glmix flops counts them; accuracies are the authors', of the weights they released.
"""

import sys
from pathlib import Path

import yaml
from mmengine.config import Config
from shipped_configs import CONFIGS, DEMO, NAMES

sys.path.insert(0, str(CONFIGS.parent))  # works without installation

from glmix_mm.profiling.flops import build, count

COLLECTIONS = {
    'glnet': dict(
        Name='GLNet',
        Metadata={'Architecture': ['GLMix', 'Soft Clustering', 'Depthwise Convolution']},
        Paper=dict(
            Title='Revisiting the Integration of Convolution and Attention for Vision Backbone',
            URL='https://arxiv.org/abs/2411.14429',
        ),
        README='README.md',
        Code=dict(URL='https://github.com/rayleizhu/GLMix'),
    ),
    'dilateformer': dict(
        Name='DilateFormer',
        Metadata={'Architecture': ['Multi-Scale Dilated Attention']},
        Paper=dict(
            Title='DilateFormer: Multi-Scale Dilated Transformer for Visual Recognition',
            URL='https://arxiv.org/abs/2302.01791',
        ),
        README='README.md',
        Code=dict(URL='https://github.com/JIAOJIAYUASD/dilateformer'),
    ),
    'fcvit': dict(
        Name='FCViT',
        Metadata={'Architecture': ['Global Context', 'Large Kernel Convolution']},
        Paper=dict(
            Title='A Close Look at Spatial Modeling: From Attention to Convolution',
            URL='https://arxiv.org/abs/2212.12552',
        ),
        README='README.md',
        Code=dict(URL='https://github.com/ma-xu/FCViT'),
    ),
}
# Config -> top-1 on ImageNet-1K: GLMix's model card and FCViT's README.
PUBLISHED = {
    'imagenet/glnet_stl.py': 82.5,
    'imagenet/glnet_stl_paramslot.py': 82.1,
    'imagenet/glnet_4g.py': 83.7,
    'imagenet/glnet_9g.py': 84.5,
    'imagenet/glnet_16g.py': 85.0,
    'imagenet/glnet_4g_tklb.py': 84.4,
    'imagenet/glnet_9g_tklb.py': 85.3,
    'imagenet/fcvit_tiny.py': 74.9,
    'imagenet/fcvit_b12.py': 80.9,
    'imagenet/fcvit_b24.py': 82.5,
    'imagenet/fcvit_b48.py': 83.6,
}
DATA = {'mmdet': 'COCO', 'mmseg': 'ADE20K', 'mmpretrain': 'ImageNet-1k'}
SHAPES = {'mmdet': (800, 1280), 'mmseg': (512, 2048), 'mmpretrain': (224, 224)}
LISTED = [name for name in NAMES if name not in DEMO]


def metafile(name: str) -> str:
    """Return the metafile that lists a config, relative to configs/."""
    return (Path(name).parent / 'metafile.yml').as_posix()


def family(name: str) -> str:
    """Return the family of a config's backbone."""
    return next(key for key in COLLECTIONS if f'{key}_' in Path(name).name)


def costs(cfg: Config) -> dict[str, int]:
    """Count parameters and multiply-adds (which OpenMMLab's metafiles call FLOPs)."""
    total = count(build(cfg), SHAPES[cfg.default_scope]).model
    return {'FLOPs': total.multiply_adds, 'Parameters': total.parameters}


def entry(name: str, cfg: Config, cost: dict[str, int]) -> dict:
    """Return a config's entry."""
    loop = cfg.train_cfg
    length = (
        {'Iterations': loop.max_iters} if loop.get('max_iters') else {'Epochs': loop.max_epochs}
    )
    data = DATA[cfg.default_scope]
    model = {
        'Name': Path(name).stem if not name.startswith('imagenet/') else f'{Path(name).stem}_in1k',
        'In Collection': COLLECTIONS[family(name)]['Name'],
        'Config': f'configs/{name}',
        'Metadata': {
            'Training Data': data,
            'Batch Size': cfg.auto_scale_lr.base_batch_size,
            **length,
            **cost,
        },
    }
    if name in PUBLISHED:
        metrics = {'Top 1 Accuracy': PUBLISHED[name]}
        model['Results'] = [{'Task': 'Image Classification', 'Dataset': data, 'Metrics': metrics}]
    return model


def write() -> None:
    """Write every metafile, and the index of them."""
    files = sorted({metafile(name) for name in LISTED})
    for file in files:
        configs = {n: Config.fromfile(CONFIGS / n) for n in LISTED if metafile(n) == file}
        text = {'Models': [entry(name, cfg, costs(cfg)) for name, cfg in configs.items()]}
        if file == 'metafile.yml':
            text = {'Collections': list(COLLECTIONS.values()), **text}
        _write(CONFIGS / file, text)
    _write(CONFIGS.parent / 'model-index.yml', {'Import': [f'configs/{file}' for file in files]})


def _write(path: Path, content: dict) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False, width=100))


if __name__ == '__main__':
    write()
