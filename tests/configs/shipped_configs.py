"""The shipped configs by name, and what their names say."""

from pathlib import Path
from typing import NamedTuple

CONFIGS = Path(__file__).parents[2] / 'configs'
NAMES = sorted(
    path.relative_to(CONFIGS).as_posix()
    for path in CONFIGS.rglob('*.py')
    if '_base_' not in path.parts
)
# Small ones, for the demo set and for small public sets.
DEMO = [name for name in NAMES if name.startswith(('demo/', 'bccd/', 'camvid/'))]
IMAGENET = [name for name in NAMES if name.startswith('imagenet/')]
ABLATION = [name for name in NAMES if name.startswith('ablation/')]
SHIPPED = [name for name in NAMES if name not in DEMO + IMAGENET + ABLATION]
# With mmdet's own recipe of the method, not that of a published result of the backbone's kind.
OWN_PAIRS = [
    'dino_glnet_4g_12e.py',
    'mask2former_glnet_4g_50e.py',
    'rtmdet_glnet_4g_100e.py',
]
FOLLOWED = [name for name in SHIPPED if name not in OWN_PAIRS]
# One of each folder and method (family in imagenet/), for what does not depend on the variant.
KINDS = sorted(
    {
        (path.parent, path.stem.split('_')[0], 'tklb' in path.stem): path.as_posix()
        for path in map(Path, NAMES)
    }.values()
)
# Family and variant -> channels of the stages, from the papers' tables.
CHANNELS = {
    ('glnet', 'stl'): [96, 192, 384, 768],
    ('glnet', '4g'): [64, 128, 256, 512],
    ('glnet', '9g'): [96, 192, 384, 768],
    ('glnet', '16g'): [128, 256, 512, 1024],
    ('dilateformer', 'tiny'): [72, 144, 288, 576],
    ('dilateformer', 'small'): [72, 144, 288, 576],
    ('dilateformer', 'base'): [96, 192, 384, 768],
    ('fcvit', 'b12'): [64, 128, 320, 512],
    ('fcvit', 'b24'): [64, 128, 320, 512],
    ('fcvit', 'b48'): [64, 128, 320, 512],
}
# Small ones of each family.
TINY_ARCHS = {
    'glnet': 'nano',
    'dilateformer': dict(channels=(24, 48, 96, 192), depths=(1, 1, 1, 1)),
    'fcvit': dict(channels=(16, 32, 64, 64), depths=(1, 1, 1, 1)),
}


class Parts(NamedTuple):
    """What METHOD_FAMILY_VARIANT_SCHEDULE.py consists of."""

    method: str
    family: str
    variant: str
    schedule: str

    @property
    def channels(self) -> list[int]:
        """Channels of the backbone's stages."""
        return CHANNELS[self.family, self.variant]

    @property
    def detects(self) -> bool:
        """Whether the config is one of COCO; if not, it is one of ADE20K."""
        return self.schedule.endswith(('x', 'e'))

    @property
    def masks(self) -> bool:
        """Whether the method predicts a mask for each box."""
        return self.method.endswith(('maskrcnn', 'mask2former'))


def parts(name: str) -> Parts:
    """Take a config's name apart, whatever folder it is in."""
    return Parts(*Path(name).stem.split('_'))
