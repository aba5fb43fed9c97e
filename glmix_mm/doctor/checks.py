"""The checks: each a function of the collected facts, to a verdict and what to do about it."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from .facts import FORKS, OFFICIAL

OK, WARNING, ERROR, UNKNOWN = 'ok', 'warning', 'error', 'not checked'
PYTHON = (3, 10)
TORCH = (2, 6)
# Least and first unsupported version of each official package, as requirements/ has them.
SUPPORTED = {
    'mmengine': ((0, 10, 7), (1, 0)),
    'mmcv': ((2, 0, 0), (2, 2, 0)),
    'mmcv-lite': ((2, 0, 0), (2, 2, 0)),
    'mmdet': ((3, 3), (3, 4)),
    'mmsegmentation': ((1, 2, 2), (1, 3)),
    'mmpretrain': ((1, 2), (1, 3)),
}
INSTALL = "pip install 'mmcv-lite==2.1.0' 'mmengine==0.10.7' 'mmdet==3.3.0' "
INSTALL += "'mmsegmentation==1.2.2' 'mmpretrain==1.2.0'"
# Mask R-CNN with GLNet-4G: 46.6 M parameters, 12 bytes each (weight, AdamW's two moments). The
# configs keep the last 3 checkpoints and the best, and write the next before an old one goes.
CHECKPOINT = 46.6e6 * 12
KEPT = 5
SHARED = 2**30  # bytes; containers often have 64 MiB, of which data loaders die
TOPICS = {  # modules whose import is a check of its own
    'mmengine': 'mmengine',
    'mmcv': 'mmcv',
    'mmcv.ops': 'mmcv.ops',
    'mmdet.apis': 'mmdet',
    'mmseg.apis': 'mmseg',
    'mmpretrain': 'mmpretrain',
    'glmix_mm': 'glmix_mm',
}


class Finding(NamedTuple):
    """What one check says.

    Attributes:
        name: of what was checked.
        verdict: 'ok', 'warning', 'error' (the job would fail) or 'not checked'.
        found: what is there.
        fix: what to do, '' where nothing is to be done.
    """

    name: str
    verdict: str
    found: str
    fix: str = ''


def check_python(facts: dict) -> Finding:
    """Python's version."""
    version = tuple(facts['python']['version'])
    found = f'{dotted(version)}, {facts["python"]["system"]}'
    if version < PYTHON:
        return Finding('Python', ERROR, found, f'install Python {dotted(PYTHON)} or newer')
    return Finding('Python', OK, found)


def check_torch(facts: dict) -> Finding:
    """Whether torch is there, can be imported and is new enough."""
    finding = _check_module(facts, 'torch', 'pip install torch torchvision')
    version = facts['probe'].get('torch', {}).get('version') or ''
    if finding.verdict == OK and release(version) < TORCH:
        fix = 'pip install --upgrade torch torchvision'
        return Finding('torch', ERROR, f'{version}; {dotted(TORCH)} or newer is needed', fix)
    return finding


def check_torchvision(facts: dict) -> Finding:
    """Whether torchvision's ops work with this torch."""
    fix = 'pip install --upgrade --force-reinstall torch torchvision (releases of one pair)'
    finding = _check_module(facts, 'torchvision', fix)
    error = facts['probe'].get('torchvision ops', {}).get('error')
    if finding.verdict == OK and error:
        return Finding('torchvision', ERROR, f'{finding.found}; its ops fail: {error}', fix)
    return finding


def check_numpy(facts: dict) -> Finding:
    """Whether numpy and torch exchange numbers."""
    finding = _check_module(facts, 'numpy', 'pip install numpy')
    error = facts['probe'].get('numpy bridge', {}).get('error')
    if finding.verdict == OK and error and not facts['probe'].get('torch', {}).get('error'):
        fix = "pip install --upgrade torch numpy (an older torch needs 'numpy<2')"
        return Finding('numpy', ERROR, f'{finding.found}; torch cannot use it: {error}', fix)
    return finding


def check_setuptools(facts: dict) -> Finding:
    """Whether setuptools still has what mmengine imports."""
    version = facts['distributions'].get('setuptools')
    found = version or 'not installed'
    if facts['distributions'].get('onedl-mmengine'):
        return Finding('setuptools', OK, f'{found}; onedl-mmengine does without')
    if facts['probe'].get('pkg_resources', {}).get('error'):
        found = f'{found}: has no pkg_resources, which mmengine imports'
        return Finding('setuptools', ERROR, found, "pip install 'setuptools<81'")
    return Finding('setuptools', OK, found)


def check_packages(facts: dict) -> Finding:
    """Which OpenMMLab packages are there: the official ones or the forks, complete, and fitting."""
    found = {name: version for name, version in facts['distributions'].items() if version}
    official = _installed(OFFICIAL, found)
    forks = _installed(FORKS, found)
    listing = ', '.join(f'{name} {found[name]}' for name in (*official, *forks)) or 'none'
    again = f'pip uninstall --yes {" ".join((*official, *forks))} && {INSTALL}'
    if official and forks:
        text = f'{listing}; official packages and onedl-* forks overwrite each other'
        return Finding('mm packages', ERROR, text, again)
    if {'mmcv', 'mmcv-lite'} <= set(official):
        fix = "pip uninstall --yes mmcv mmcv-lite && pip install 'mmcv-lite==2.1.0'"
        return Finding('mm packages', ERROR, f'{listing}; mmcv and mmcv-lite are one module', fix)
    family = FORKS if forks else OFFICIAL
    missing = [names[-1] for names in family.values() if not any(name in found for name in names)]
    # A source tree on the path has no record at pip.
    missing = [name for name in missing if _module_fails(facts, family, name)]
    if missing:
        fix = f'pip install {" ".join(missing)}' if forks else INSTALL
        return Finding('mm packages', ERROR, f'{listing}; missing: {", ".join(missing)}', fix)
    for name in official:
        low, high = SUPPORTED[name]
        if not low <= release(found[name]) < high:
            text = f'{listing}; {name} must be at least {dotted(low)} and below {dotted(high)}'
            return Finding('mm packages', ERROR, text, INSTALL)
    note = ' (onedl-* forks: not the versions that were tested)' if forks else ''
    return Finding('mm packages', WARNING if forks else OK, listing + note)


def check_imports(facts: dict) -> Finding:
    """Whether what the tools import can be imported."""
    found = {name: facts['probe'].get(topic, {}) for topic, name in TOPICS.items()}
    failed = {name: import_['error'] for name, import_ in found.items() if 'error' in import_}
    if failed:
        text = f'{", ".join(failed)} cannot be imported; the first: {next(iter(failed.values()))}'
        return Finding('imports', ERROR, text, f'mend what stands above, else: {INSTALL}')
    if not all(found.values()):
        return Finding('imports', UNKNOWN, 'Python ended before', 'mend what stands above')
    return Finding('imports', OK, ', '.join(found))


def check_ops(facts: dict) -> Finding:
    """Whether NMS and RoIAlign work, and who computes them."""
    found = facts['probe'].get('ops', {})
    if 'by' in found:
        by = 'torchvision and torch' if found['by'] == 'torchvision' else 'the compiled mmcv'
        return Finding('ops', OK, f'computed by {by}')
    if not found or check_imports(facts).verdict != OK:
        return Finding('ops', UNKNOWN, 'needs the imports')
    fix = "pip uninstall --yes mmcv mmcv-lite && pip install 'mmcv-lite==2.1.0'"
    return Finding('ops', ERROR, found['error'], f'{fix} (torchvision then computes them)')


def check_gpu(facts: dict) -> Finding:
    """Which GPUs torch can use."""
    found = facts['probe'].get('gpu', {})
    if not found or facts['probe'].get('torch', {}).get('error'):
        return Finding('GPU', UNKNOWN, 'needs torch')
    if 'error' in found:
        fix = 'install the torch that pytorch.org names for this GPU and driver'
        return Finding('GPU', ERROR, found['error'], fix)
    built = found['cuda'] or found['hip']
    if found['devices']:
        names = ', '.join(f'{d["name"]} ({d["memory"] / 2**30:.0f} GiB)' for d in found['devices'])
        return Finding('GPU', OK, f'{names}; torch is built for CUDA {built}')
    if facts['driver'] and not built:
        fix = 'pip install --upgrade --force-reinstall torch torchvision (of CUDA)'
        return Finding('GPU', WARNING, "NVIDIA's driver is here, but torch is built for CPUs", fix)
    if facts['driver']:
        fix = f'update the driver, or install a torch for an older CUDA than {built}'
        return Finding('GPU', WARNING, "NVIDIA's driver is here, but torch finds no GPU", fix)
    fix = 'the published recipes need GPUs; the demo does not'
    return Finding('GPU', WARNING, 'none: training runs on the CPU', fix)


def check_precision(facts: dict) -> Finding:
    """In which precision training would compute."""
    found = facts['probe'].get('gpu', {})
    if not found.get('devices'):
        known = UNKNOWN if 'devices' not in found else OK
        return Finding('precision', known, 'float32' if known == OK else 'needs torch')
    if found['bf16']:
        return Finding('precision', OK, 'bfloat16')
    return Finding('precision', OK, 'float16 with a scaled loss; this GPU has no bfloat16')


def check_disk(facts: dict) -> Finding:
    """Whether checkpoints fit into the current folder, and batches into shared memory."""
    free, shared = facts['disk']['free'], facts['disk']['shared']
    found = f'{free / 1e9:.1f} GB free here'
    need = f'Mask R-CNN with GLNet-4G keeps {KEPT} checkpoints of {CHECKPOINT / 1e9:.2f} GB'
    if free < CHECKPOINT:
        return Finding('disk', ERROR, f'{found}; {need}', 'make room, or give --work-dir elsewhere')
    if free < KEPT * CHECKPOINT:
        return Finding(
            'disk', WARNING, f'{found}; {need}', 'make room, or give --work-dir elsewhere'
        )
    if shared is not None and shared < SHARED:
        found += f'; /dev/shm has {shared / 2**20:.0f} MiB, which several data loaders may exhaust'
        fix = 'docker run --shm-size=8g (or --ipc=host), or train_dataloader.num_workers=0'
        return Finding('disk', WARNING, found, fix)
    return Finding('disk', OK, found)


def check_data(facts: dict) -> Finding:
    """Whether the job's data set lies where it is looked for."""
    fix = 'see "Train and test" in the README; --data-root DIR names the folder'
    finding = _check_job(facts, 'data', fix)
    if finding.verdict == OK:
        folders = ', '.join(facts['probe']['data']['folders'])
        return finding._replace(found=f'{folders} (glmix check-data reads it)')
    return finding


def check_weights(facts: dict) -> Finding:
    """Whether the job's pretrained weights are there."""
    finding = _check_job(facts, 'weights', 'fetch them, or train with --from-scratch')
    if finding.verdict == OK:
        names = facts['probe']['weights']['names']
        return finding._replace(found=', '.join(names) or 'the config names none')
    return finding


CHECKS: tuple[Callable[[dict], Finding], ...] = (
    check_python,
    check_torch,
    check_torchvision,
    check_numpy,
    check_setuptools,
    check_packages,
    check_imports,
    check_ops,
    check_gpu,
    check_precision,
    check_disk,
    check_data,
    check_weights,
)


def release(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: 2.1.0rc1+cu130 gives (2, 1, 0)."""
    match = re.match(r'\d+(\.\d+)*', version)
    return tuple(map(int, match[0].split('.'))) if match else ()


def dotted(version: Iterable[int]) -> str:
    """Return numbers with dots between them."""
    return '.'.join(map(str, version))


def _check_module(facts: dict, name: str, fix: str) -> Finding:
    found, version = facts['probe'].get(name), facts['distributions'].get(name)
    if found is None:
        return Finding(name, UNKNOWN, 'Python ended before', 'mend what stands above')
    if 'error' not in found:
        return Finding(name, OK, found['version'] or version or 'of an unknown version')
    state = f'{version} is installed, but cannot be imported' if version else 'not installed'
    return Finding(name, ERROR, f'{state}: {found["error"]}', fix)


def _check_job(facts: dict, topic: str, fix: str) -> Finding:
    """Return the finding of a topic that needs everything else; its errors may hold their fix."""
    found = facts['probe'].get(topic)
    if found is None or (check_imports(facts).verdict != OK and 'error' in found):
        return Finding(topic, UNKNOWN, 'needs the imports')
    if 'error' in found:
        text, *rest = re.split(r'[.;] ', found['error'].removeprefix('UserError: '), maxsplit=1)
        return Finding(topic, ERROR, text, rest[0] if rest else fix)
    return Finding(topic, OK, '')


def _installed(family: dict, found: dict) -> list[str]:
    return [name for names in family.values() for name in names if name in found]


def _module_fails(facts: dict, family: dict, distribution: str) -> bool:
    module = next(module for module, names in family.items() if distribution in names)
    topic = {'mmdet': 'mmdet.apis', 'mmseg': 'mmseg.apis'}.get(module, module)
    return 'error' in facts['probe'].get(topic, dict(error=''))
