"""What every shipped config comes to, in recipes.json: run this file to write that again.

One line is one setting, so that a change of a base file shows as a diff of what it changes.
"""

import json
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from shipped_configs import CONFIGS, DEMO, NAMES

sys.path.insert(0, str(CONFIGS.parent))  # works without installation

from glmix_mm.config.config_keys import ENTRIES
from glmix_mm.profiling.flops import EmptyOnMeta, build

RECIPES = Path(__file__).with_name('recipes.json')
READ = ENTRIES | {'auto_scale_lr', 'classes'}  # the others are helper variables of config files
PASSED_ON = ('_scope_', 'backend_args')  # by mmengine, and from base files of other packages
ABSENT = '(absent)'
LINE = 90  # characters that a setting may take without being taken apart


def recipe(cfg: Config) -> dict[str, Any]:
    """Return a config's settings, its model's size and its optimizer's parameter groups."""
    read = {key: value for key, value in cfg.to_dict().items() if key in READ}
    for part in ('dataloader', 'evaluator'):
        if read.get(f'test_{part}') == read.get(f'val_{part}'):
            read[f'test_{part}'] = 'as for val'
    facts = dict(lines(json.loads(json.dumps(read, default=str))))
    model = build(cfg)
    with DefaultScope.overwrite_default_scope(cfg.default_scope), EmptyOnMeta():
        groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    facts['built: channels'] = list(model.backbone.out_channels)
    for name, part in (('model', model), ('backbone', model.backbone)):
        facts[f'built: parameters of the {name}'] = sum(p.numel() for p in part.parameters())
    tensors, numbers = Counter(), Counter()
    for group in groups:
        kind = f'built: lr {group["lr"]:g}, weight decay {group["weight_decay"]:g}'
        tensors[kind] += len(group['params'])
        numbers[kind] += sum(p.numel() for p in group['params'])
    facts |= {kind: f'{tensors[kind]} tensors of {numbers[kind]} numbers' for kind in tensors}
    return facts


def lines(settings: Any, key: str = '') -> Iterator[tuple[str, Any]]:
    """Yield settings with their dotted keys; what fits in a line is not taken apart."""
    if isinstance(settings, dict):
        settings = {k: v for k, v in settings.items() if k not in PASSED_ON}
    text = json.dumps(settings)
    if key and (len(text) <= LINE or '{' not in text):
        yield key, settings
        return
    entries = settings.items() if isinstance(settings, dict) else enumerate(settings)
    for name, value in entries:
        yield from lines(value, f'{key}.{name}' if key else str(name))


def base_of(name: str) -> str:
    """Return the config beside which another is written: one of the same folder or method."""
    path = Path(name)
    if path.parent.name in ('imagenet', 'ablation'):
        return 'imagenet/glnet_4g.py'
    if name in DEMO:
        return name.replace('_micro_', '_nano_')
    method = path.stem.split('_')[0].removeprefix('cascade')
    alike = [other for other in NAMES if Path(other).stem.startswith(f'{method}_glnet_4g_')]
    return alike[0] if alike else name


def read() -> dict[str, dict[str, Any]]:
    """Return the recipes of the file, by config, each in full."""
    written = json.loads(RECIPES.read_text())
    full = {}
    for name, facts in written.items():
        own = dict(facts)
        whole = dict(written[own.pop('like')]) if 'like' in own else {}
        full[name] = {key: value for key, value in (whole | own).items() if value != ABSENT}
    return full


def write() -> None:
    """Write the file: the first config of a kind in full, of others what differs from it."""
    logging.disable(logging.WARNING)
    recipes = {name: recipe(Config.fromfile(CONFIGS / name)) for name in NAMES}
    blocks = []
    for name, facts in recipes.items():
        base = base_of(name)
        if base != name:
            whole = recipes[base]
            own = {key: facts.get(key, ABSENT) for key in whole | facts}
            own = {key: value for key, value in own.items() if value != whole.get(key, ABSENT)}
            facts = dict(like=base, **own)
        rows = (f'  {json.dumps(key)}: {json.dumps(value)}' for key, value in facts.items())
        blocks.append(f' {json.dumps(name)}: {{\n' + ',\n'.join(rows) + '\n }')
    RECIPES.write_text('{\n' + ',\n'.join(blocks) + '\n}\n')


if __name__ == '__main__':
    write()
