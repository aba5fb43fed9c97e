"""The checks: each a function of the collected facts, to a verdict and what to do about it."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..utils.commands import spelled
from .facts import FORKS, OFFICIAL, OPENCV

OK, WARNING, ERROR, UNKNOWN = 'ok', 'warning', 'error', 'not checked'
PYTHON = (3, 10)
TORCH = (2, 9)
# Least and first unsupported version of each official package, as requirements/ has them.
SUPPORTED = {
    'mmengine': ((0, 10, 7), (1, 0)),
    'mmcv': ((2, 0, 0), (2, 2, 0)),
    'mmcv-lite': ((2, 0, 0), (2, 2, 0)),
    'mmdet': ((3, 3), (3, 4)),
    'mmsegmentation': ((1, 2, 2), (1, 3)),
    'mmpretrain': ((1, 2), (1, 3)),
}
TESTED_FORKS = {
    'onedl-mmengine': '0.10.12',
    'onedl-mmcv': '2.3.6',
    'onedl-mmdetection': '3.5.1',
    'onedl-mmsegmentation': '1.4.2',
    'onedl-mmpretrain': '1.3.6',
}
LITE = "'mmcv-lite==2.1.0' "
INSTALL = f"pip install {LITE}'mmengine==0.10.7' 'mmdet==3.3.0' "
INSTALL += "'mmsegmentation==1.2.2' 'mmpretrain==1.2.0'"
LITE_ALONE = "pip uninstall --yes mmcv mmcv-lite && pip install 'mmcv-lite==2.1.0'"
LITE_ALONE += '  # torchvision then computes the ops'
MAIN_JOB = 'maskrcnn_glnet_4g_3x'
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
# What pip installs for a module whose name is not the distribution's.
PROVIDERS = {
    'PIL': 'pillow',
    'cv2': 'opencv-python',
    'dateutil': 'python-dateutil',
    'google': 'protobuf',
    'markdown_it': 'markdown-it-py',
    'modelindex': 'model-index',
    'mpl_toolkits': 'matplotlib',
    'skimage': 'scikit-image',
    'sklearn': 'scikit-learn',
    'yaml': 'pyyaml',
}
CPU_TORCH = '--index-url https://download.pytorch.org/whl/cpu'
# What errors of imports say, and what fixes them.
FIXES = (
    (
        r'lib(GL|gthread|SM|Xext|Xrender)\b.*\.so',
        'pip uninstall --yes opencv-python opencv-python-headless && pip install '
        "opencv-python-headless  # or install the system's libgl1 and libglib2.0-0",
    ),
    (
        r'numpy\.dtype size changed|multiarray failed to import|_ARRAY_API',
        'pip install --upgrade --force-reinstall --no-deps pycocotools matplotlib opencv-python  '
        '# they were built for another numpy',
    ),
    (r"No module named 'pkg_resources'", "pip install 'setuptools<81'"),
    (r'_ext\b.*(undefined symbol|cannot open|DLL load failed)', LITE_ALONE),
)


class Finding(NamedTuple):
    """What one check says.

    Attributes:
        name: of what was checked.
        verdict: 'ok', 'warning', 'error' (the job would fail) or 'not checked'.
        found: what is there.
        fix: what to do, '' where nothing is to be done. One that begins with ``pip`` is a command.
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


def spare_cpu_torch(facts: dict, finding: Finding) -> Finding:
    """Say in a fix that installs torch what it would put in place of a build for CPUs.

    On Linux, pip takes the build for CUDA unless it is told where the other is.
    """
    torch = facts['distributions'].get('torch') or ''
    installs = re.search(r'pip install [^#&]*\btorch(vision)?\b', finding.fix)
    linux = facts['python']['system'].startswith('Linux')
    if facts['driver'] or not linux or not installs or (torch and '+cpu' not in torch):
        return finding
    command, _, comment = finding.fix.partition('  # ')
    would = f'would replace {torch} by a build for CUDA' if torch else 'installs a build for CUDA'
    words = (comment, f'{would} (4 GB more); to keep to the CPU, add {CPU_TORCH}')
    return finding._replace(fix=f'{command}  # {"; ".join(filter(None, words))}')


def check_torchvision(facts: dict) -> Finding:
    """Whether torchvision's ops work with this torch."""
    fix = 'pip install --upgrade --force-reinstall torch torchvision  # of matching releases'
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
        fix = "pip install --upgrade torch numpy  # or, for an older torch, 'numpy<2'"
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


def check_opencv(facts: dict) -> Finding:
    """Whether OpenCV can be imported, and comes from one package alone."""
    found = {name: facts['distributions'].get(name) for name in OPENCV}
    installed = [name for name, version in found.items() if version]
    probe = facts['probe'].get('cv2', {})
    again = 'pip install --force-reinstall --no-deps opencv-python'
    if installed:
        again = f'pip uninstall --yes {" ".join(installed)} && {again}'
    if 'error' in probe:
        text = f'{", ".join(installed) or "not installed"}: {probe["error"]}'
        return Finding('OpenCV', ERROR, text, known_fix(probe['error']) or again)
    if not probe:
        return Finding('OpenCV', UNKNOWN, 'Python ended before', 'fix what stands above')
    if not probe['version']:
        text = 'cv2 is an empty folder, as removing one of two OpenCV packages leaves it'
        return Finding('OpenCV', ERROR, text, again)
    if len(installed) > 1:
        text = ', '.join(f'{name} {found[name]}' for name in installed)
        text += f' write to one folder; in use is {probe["version"]}'
        return Finding('OpenCV', WARNING, text, again)
    return Finding('OpenCV', OK, probe['version'])


def known_fix(error: str) -> str:
    """Return what fixes an import that fails with this error, '' if that is not known."""
    for pattern, fix in FIXES:
        if re.search(pattern, error):
            return fix
    missing = re.search(r"No module named '(\w+)'", error)
    if not missing or missing[1] in (*OFFICIAL, 'glmix_mm', 'torch', 'torchvision'):
        return ''
    return f'pip install {PROVIDERS.get(missing[1], missing[1])}'


def install_command(facts: dict) -> str:
    """Return the command that installs the official packages, beside no second mmcv."""
    compiled = facts['distributions'].get('mmcv')
    if not compiled:
        return INSTALL
    low, high = SUPPORTED['mmcv']
    if low <= release(compiled) < high:
        return INSTALL.replace(LITE, '')
    return f'pip uninstall --yes mmcv && {INSTALL}'


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
        text = f'{listing}; mmcv and mmcv-lite are one module'
        return Finding('mm packages', ERROR, text, LITE_ALONE)
    family = FORKS if forks else OFFICIAL
    missing = [names[-1] for names in family.values() if not any(name in found for name in names)]
    # A source tree on the path has no record at pip.
    missing = [name for name in missing if _module_fails(facts, family, name)]
    if missing:
        fix = f'pip install {" ".join(missing)}' if forks else install_command(facts)
        return Finding('mm packages', ERROR, f'{listing}; missing: {", ".join(missing)}', fix)
    for name in official:
        low, high = SUPPORTED[name]
        if not low <= release(found[name]) < high:
            text = f'{listing}; {name} must be at least {dotted(low)} and below {dotted(high)}'
            return Finding('mm packages', ERROR, text, install_command(facts))
    others = [name for name in forks if found[name] != TESTED_FORKS[name]]
    if others:
        tested = ' '.join(f'{name}=={TESTED_FORKS[name]}' for name in others)
        fix = f'if something fails: pip install --no-build-isolation {tested}'
        return Finding('mm packages', WARNING, f'{listing}; not the versions that were tested', fix)
    return Finding('mm packages', OK, listing)


def check_imports(facts: dict) -> Finding:
    """Whether what the tools import can be imported."""
    found = {name: facts['probe'].get(topic, {}) for topic, name in TOPICS.items()}
    failed = {name: import_['error'] for name, import_ in found.items() if 'error' in import_}
    if failed:
        first = next(iter(failed.values()))
        text = f'{", ".join(failed)} cannot be imported; the first: {first}'
        fix = known_fix(first) or f'fix the problems above, otherwise: {install_command(facts)}'
        if fix == LITE_ALONE and facts['distributions'].get('onedl-mmcv'):
            fix = 'pip install --force-reinstall --no-deps --no-build-isolation onedl-mmcv'
        return Finding('imports', ERROR, text, fix)
    if not all(found.values()):
        return Finding('imports', UNKNOWN, 'Python ended before', 'fix what stands above')
    return Finding('imports', OK, ', '.join(found))


def check_ops(facts: dict) -> Finding:
    """Whether NMS and RoIAlign work, and who computes them."""
    found = facts['probe'].get('ops', {})
    if 'by' in found:
        by = 'torchvision and torch' if found['by'] == 'torchvision' else 'the compiled mmcv'
        return Finding('ops', OK, f'computed by {by}')
    if not found or check_imports(facts).verdict != OK:
        return Finding('ops', UNKNOWN, 'needs the imports')
    return Finding('ops', ERROR, found['error'], LITE_ALONE)


def check_startup(facts: dict) -> Finding:
    """Whether Python serves ops and config names before anyone imports this package."""
    if not facts['startup']['installed']:
        text = "not installed: mmdet's and mmseg's own tools need `import glmix_mm` first"
        return Finding('start-up', WARNING, text, 'install glmix_mm with pip')
    if facts['startup']['switch'] == '0':
        return Finding('start-up', WARNING, 'switched off by GLMIX_STARTUP=0', 'unset it')
    return Finding('start-up', OK, "mmdet's and mmseg's own tools run as they are")


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
        dtype = 'bfloat16' if found['bf16'] else 'float16 (no bfloat16)'
        return Finding('GPU', OK, f'{names}, {dtype}; torch is built for CUDA {built}')
    if facts['driver'] and not built:
        fix = 'pip install --upgrade --force-reinstall torch torchvision  # those of CUDA'
        return Finding('GPU', WARNING, "NVIDIA's driver is here, but torch is built for CPUs", fix)
    if facts['driver']:
        fix = f'update the driver, or install a torch for an older CUDA than {built}'
        return Finding('GPU', WARNING, "NVIDIA's driver is here, but torch finds no GPU", fix)
    text, fix = (
        'none: training runs on the CPU',
        'the published recipes need GPUs; the demo does not',
    )
    if built:
        text += f"; torch is built for CUDA {built}, but NVIDIA's driver is not here"
        fix = f'if this machine has a GPU, install its driver (docker run --gpus all); {fix}'
    return Finding('GPU', WARNING, text, fix)


def check_disk(facts: dict) -> Finding:
    """Whether checkpoints fit into the current folder, and batches into shared memory."""
    free, shared = facts['disk']['free'], facts['disk']['shared']
    found = f'{free / 1e9:.1f} GB free here'
    need = f'Mask R-CNN with GLNet-4G keeps {KEPT} checkpoints of {CHECKPOINT / 1e9:.2f} GB'
    if free < KEPT * CHECKPOINT:
        fails = free < CHECKPOINT or facts['config'] == MAIN_JOB  # others' may be smaller
        verdict = ERROR if fails else WARNING
        fix = 'make room, or give --work-dir elsewhere'
        return Finding('disk', verdict, f'{found}; {need}', fix)
    if shared is not None and shared < SHARED:
        found += f'; /dev/shm has {shared / 2**20:.0f} MiB, which several data loaders may exhaust'
        fix = 'docker run --shm-size=8g (or --ipc=host), or train_dataloader.num_workers=0'
        return Finding('disk', WARNING, found, fix)
    return Finding('disk', OK, found)


def check_data(facts: dict) -> Finding:
    """Whether the job's data set lies where it is looked for."""
    fix = 'see docs/train.md; --data-root DIR names the folder'
    finding = _check_job(facts, 'data', fix)
    if finding.verdict == OK:
        folders = ', '.join(facts['probe']['data']['folders'])
        return finding._replace(found=f'{folders} ({spelled("check-data")} reads it)')
    return finding


def check_weights(facts: dict) -> Finding:
    """Whether the job's pretrained weights are there."""
    finding = _check_job(facts, 'weights', 'fetch them, or train with --from-scratch')
    if finding.verdict == OK:
        names = facts['probe']['weights']['names']
        return finding._replace(found=', '.join(names) or 'the config names none')
    return finding


def check_layers(facts: dict) -> Finding:
    """Whether the job's model can be built, and every op that its layers call is there."""
    finding = _check_job(facts, 'layers', 'correct the config')
    if finding.verdict == OK:
        return finding._replace(
            found=f'{facts["probe"]["layers"]["type"]}, all of its ops are here'
        )
    return finding


CHECKS: tuple[Callable[[dict], Finding], ...] = (
    check_python,
    check_torch,
    check_torchvision,
    check_numpy,
    check_setuptools,
    check_opencv,
    check_packages,
    check_imports,
    check_ops,
    check_startup,
    check_gpu,
    check_disk,
    check_data,
    check_weights,
    check_layers,
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
        return Finding(name, UNKNOWN, 'Python ended before', 'fix what stands above')
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
