"""Builds every kind of model that mmdet, mmseg and mmpretrain ship, predicts, and trains one step.

    python tests/zoo/zoo.py [mmdet] [mmseg] [mmpretrain] [--only PATTERN] [--again PATTERN]

A kind is a set of registered types: configs of one family that differ in sizes or schedules are
one. Each kind has a process of its own with limits of time and memory. Results are lines of JSON
in work_dirs/zoo, so a run goes on where an earlier one ended; zoo_page.py makes a page of them.
"""

import argparse
import json
import logging
import multiprocessing
import os
import re
import resource
import time
import traceback
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from batches import batches, made_up_bert, values_of
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from zoo_page import FOLDER, PACKAGES, STAGES, read_rows

from glmix_mm.errors import UserError  # (the package serves mmcv's ops)

SECONDS = 240  # of CPU time for one kind; nearly all need at most 60
MEMORY = 8 * 2**30  # bytes that a kind may take beyond the imported stack
BERT = FOLDER / 'bert'  # stands for the published one

# Of the configs of a kind, the one that is least work: these make it more.
LARGE = re.compile(r'101|152|huge|giant|large|[-_](xl|l|x|h|g)[-_]|b[3-8]|lvis|objects365')


def configs(package: str) -> Path:
    """Return the folder of the configs that an installed package ships."""
    return Path(import_module(package).__file__).parent / '.mim' / 'configs'


def types_in(node) -> set[str]:
    """Collect the names of all registered types in a part of a config."""
    if isinstance(node, dict):
        own = node.get('type')
        found = {own if isinstance(own, str) else own.__name__} if own else set()
        return found.union(*map(types_in, node.values()))
    if isinstance(node, list | tuple):
        return set().union(*map(types_in, node))
    return set()


def find_kinds(package: str) -> list[dict]:
    """Return a package's kinds: the config to try, the family, and how many configs there are."""
    groups = {}
    for path in sorted(configs(package).rglob('*.py')):
        name = path.relative_to(configs(package)).as_posix()
        if name.startswith('_base_'):
            continue
        try:
            model = Config.fromfile(path).get('model')
        except Exception as error:  # a kind of its own: it fails to build
            model = dict(type=repr(error))
        if model:
            groups.setdefault(frozenset(types_in(model)), []).append(name)
    kinds = []
    for names in groups.values():
        config = min(names, key=lambda name: (len(LARGE.findall(name)), len(name), name))
        kinds.append(dict(config=config, family=config.split('/')[0], configs=len(names)))
    return sorted(kinds, key=lambda kind: kind['config'])


def without_weights(node):
    """Return a part of a config without what would be downloaded."""
    if isinstance(node, list | tuple):
        return type(node)(map(without_weights, node))
    if node == 'bert-base-uncased' and BERT.is_dir():
        return str(BERT)
    if not isinstance(node, dict):
        return node
    for key, value in list(node.items()):
        named = key in ('pretrained', 'checkpoint', 'teacher_ckpt')
        initial = key == 'init_cfg' and values_of(value, 'checkpoint')
        node[key] = None if named or initial else without_weights(value)
    if str(node.get('type')).endswith('TIMMBackbone'):
        node['pretrained'] = False
    return node


def with_few_proposals(node) -> None:
    """Let two-stage detectors keep few boxes: most of their time goes there."""
    for value in node.values() if isinstance(node, dict) else node:
        if isinstance(value, dict | list | tuple):
            with_few_proposals(value)
    if isinstance(node, dict):
        for key, most in (('max_per_img', 50), ('num', 64)):  # proposals, samples to learn from
            if isinstance(node.get(key), int):
                node[key] = min(node[key], most)


def build(cfg: Config):
    """Build a config's model with random weights, as the libraries' tools do on a CPU."""
    registry = import_module(f'{cfg.default_scope}.registry').MODELS
    if 'data_preprocessor' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    cfg.model = without_weights(cfg.model)
    if not values_of(cfg.model, 'num_proposals'):  # else as many boxes as queries
        with_few_proposals(cfg.model)
    if 'topk' in cfg.model:  # of captions, of which the batch has one
        cfg.model.topk = 1
    if 'MMSyncBN' in types_in(cfg.model):  # asks for a group when it is built
        store = torch.distributed.HashStore()
        torch.distributed.init_process_group('gloo', store=store, rank=0, world_size=1)
    model = revert_sync_batchnorm(registry.build(cfg.model))
    for module in model.modules():  # defaults of constructors
        if 'Pretrained' in types_in(getattr(module, 'init_cfg', None)):
            module.init_cfg = None
    model.init_weights()
    return model


def tensors_in(value) -> list[torch.Tensor]:
    """Collect the tensors of predictions or losses."""
    if isinstance(value, torch.Tensor):
        return [value]
    if hasattr(value, 'all_items'):  # a data element of mmengine
        value = [item for _, item in value.all_items()]
    elif isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in tensors_in(item)]
    return []


def check_finite(what: str, value) -> None:
    """Raise if a number of predictions or losses is not finite."""
    for tensor in tensors_in(value):
        if not torch.isfinite(tensor).all():
            raise FloatingPointError(f'{what}: not finite')


def predict(model, data) -> None:
    """Predict a batch, and check that there are results and all their numbers finite."""
    model.eval()
    with torch.no_grad():
        results = model.test_step(data)
    if not results:
        raise ValueError('no predictions')
    check_finite('predictions', results)


def train(model, data) -> None:
    """Take one step of SGD, and check that loss, gradients and weights are finite and moved."""
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.SGD(parameters, lr=1e-3)
    logs = model.train_step(data, OptimWrapper(optimizer))
    check_finite('losses ' + ' '.join(k for k, v in logs.items() if not v.isfinite().all()), logs)
    check_finite('gradients', [p.grad for p in parameters])
    check_finite('weights', parameters)
    if all(torch.equal(old, new) for old, new in zip(before, parameters, strict=True)):
        raise ValueError('no weight moved')


def try_kind(package: str, name: str, tell) -> None:
    """Try one kind; ``tell`` gets each stage's name when it begins, and then what came of it."""
    os.chdir(configs(package).parent)  # some configs name others from here
    torch.manual_seed(0)
    tell('build', None)
    cfg = Config.fromfile(configs(package) / name)
    init_default_scope(cfg.setdefault('default_scope', package))
    for key, value in dict(iter=1, max_iters=100, epoch=0, max_epochs=10).items():
        MessageHub.get_current_instance().update_info(key, value)  # as a loop of training does
    model = build(cfg)
    tell('build', 'yes')
    for stage, act in (('predict', predict), ('train', train)):
        tell(stage, None)
        tell(stage, outcome(act, cfg, model, stage))


def outcome(act, cfg: Config, model, stage: str) -> str:
    """Return what comes of a stage, at 128 px or else at the config's own size."""
    failure = None
    for data in batches(cfg, model, stage):
        if data is None:
            return 'not meant'
        try:
            act(model, data)
        except UserError as error:  # an op that is not served: no size helps
            return describe(error)
        except Exception as error:
            failure = describe(error)
        else:
            return 'yes'
    return failure


def describe(error: BaseException) -> str:
    """Return an error as a line: its class, its message, and the packages' line that raised it."""
    where = ''
    for frame in traceback.extract_tb(error.__traceback__):
        if match := re.search(r'site-packages/(mm\w+/.*)|(glmix_mm/.*)', frame.filename):
            where = f' [{match[1] or match[2]}:{frame.lineno}]'
    return f'{type(error).__name__}: {" ".join(str(error).split())[:300]}{where}'


def child(package: str, name: str, connection) -> None:
    """Try one kind within its limit of memory; runs in a process of its own."""
    mapped = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    stage = 'build'

    def tell(now, outcome):
        nonlocal stage
        stage = now
        connection.send((now, outcome))

    try:
        try_kind(package, name, tell)
    except Exception as error:
        tell(stage, describe(error))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    connection.send(('mb', peak // 1024))


def run_kind(package: str, kind: dict) -> dict:
    """Try one kind in a process of its own and return its row."""
    row = dict(kind, package=package)
    start = time.monotonic()
    context = multiprocessing.get_context('fork')  # which has the stack imported already
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(package, kind['config'], sender))
    process.start()
    sender.close()
    stage, unfinished = 'build', True
    while receiver.poll(10 * SECONDS):  # a machine may be busy
        try:
            key, value = receiver.recv()
        except EOFError:
            break
        unfinished = key in STAGES and value is None
        stage = key if unfinished else stage
        row[key] = value
    else:
        process.kill()
    process.join()
    if process.exitcode and unfinished:
        row[stage] = f'ended by signal {-process.exitcode}'
    row['seconds'] = round(time.monotonic() - start, 1)
    return row


def run_package(package: str, only: str, again: str | None) -> None:
    """Try a package's kinds that have no row yet, and those whose row matches ``again``."""
    known = FOLDER / f'{package}-kinds.json'
    if not known.is_file():
        known.write_text(json.dumps(find_kinds(package)))
    kinds, rows = json.loads(known.read_text()), read_rows(package)
    for number, kind in enumerate(kinds, 1):
        row = rows.get(kind['config'])
        done = row and not (again and re.search(again, json.dumps(row)))
        if done or not re.search(only, kind['config']):
            continue
        row = run_kind(package, kind)
        with open(FOLDER / f'{package}.jsonl', 'a') as file:
            file.write(json.dumps(row) + '\n')
        told = ', '.join(f'{stage} {row.get(stage)}' for stage in STAGES)
        print(f'{package} {number}/{len(kinds)} {kind["config"]}: {told}', flush=True)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('packages', nargs='*', default=PACKAGES, help='all three by default')
    parser.add_argument('--only', default='', help='regular expression of the configs to try')
    parser.add_argument('--again', help='regular expression of rows of JSON to try again')
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    for package in PACKAGES:
        import_module(f'{package}.utils').register_all_modules(init_default_scope=False)
    if find_spec('transformers') and not BERT.is_dir():
        made_up_bert(BERT)
    for package in options.packages:
        run_package(package, options.only, options.again)


if __name__ == '__main__':
    main()
