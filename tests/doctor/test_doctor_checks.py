"""Each check's verdict on faked facts: what users of the OpenMMLab stack run into."""

import json
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from glmix_mm.doctor import command
from glmix_mm.doctor.checks import (
    CHECKS,
    INSTALL,
    LITE,
    MAIN_JOB,
    PROVIDERS,
    SUPPORTED,
    TESTED_FORKS,
    known_fix,
    release,
)
from glmix_mm.doctor.facts import FORKS, OFFICIAL, OPENCV, read_facts

ROOT = Path(__file__).parents[2]
VERSIONS = {
    'mmengine': '0.10.7',
    'mmcv': None,
    'mmcv-lite': '2.1.0',
    'mmdet': '3.3.0',
    'mmsegmentation': '1.2.2',
    'mmpretrain': '1.2.0',
    **{name: None for names in FORKS.values() for name in names},
    'glmix_mm': '0.1.0',
    'numpy': '2.4.6',
    'setuptools': '80.10.2',
    'torch': '2.15.0',
    'torchvision': '0.29.2',
    **dict.fromkeys(OPENCV),
    'opencv-python': '5.0.0.93',
}
IMPORTED = ['numpy', 'torch', 'torchvision', 'pkg_resources', 'mmengine', 'glmix_mm', 'mmcv']
IMPORTED += ['cv2', 'mmcv.ops', 'mmdet.apis', 'mmseg.apis', 'mmpretrain']
GPU = dict(name='NVIDIA A100', memory=80 * 2**30)
FORKED = {name: None for names in OFFICIAL.values() for name in names} | {
    name: '3.0' for names in FORKS.values() for name in names
}
ERROR = dict(error='ImportError: no', kind='ImportError')
COMPILED = {'mmcv': '2.1.0', 'mmcv-lite': None}


def failing(text):
    return dict(error=f'ImportError: {text}', kind='ImportError')


def good():
    """Return the facts of a machine on which everything is right."""
    return dict(
        config=MAIN_JOB,
        python=dict(version=[3, 11, 7], system='Linux'),
        distributions=dict(VERSIONS),
        disk=dict(free=50e9, shared=8 * 2**30),
        driver=True,
        startup=dict(installed=True, switch=None),
        probe={
            **{name: dict(version=VERSIONS.get(name) or '1.0', file='x') for name in IMPORTED},
            'numpy bridge': dict(sum=2.0),
            'torchvision ops': dict(kept=1),
            'ops': dict(by='torchvision'),
            'gpu': dict(cuda='13.2', hip=None, devices=[GPU], bf16=True),
            'data': dict(folders=['/data/coco']),
            'weights': dict(names=['glmix://glnet_4g']),
            'layers': dict(type='MaskRCNN'),
        },
    )


def diagnose(changes):
    """Return the findings by name, with facts changed at 'a/b' paths."""
    facts = good()
    for path, value in changes.items():
        *parents, last = path.split('/')
        node = facts
        for parent in parents:
            node = node[parent]
        if isinstance(value, dict) and last == 'distributions':
            node[last].update(value)
        else:
            node[last] = value
    return {finding.name: finding for finding in command.diagnose(facts)}


def test_a_good_machine_passes():
    findings = diagnose({})
    assert [finding.verdict for finding in findings.values()] == ['ok'] * len(CHECKS)
    assert not any(finding.fix for finding in findings.values())
    assert findings['GPU'].found == 'NVIDIA A100 (80 GiB), bfloat16; torch is built for CUDA 13.2'
    assert not command.would_fail(findings.values())


@pytest.mark.parametrize(
    ('name', 'changes', 'verdict', 'found', 'fix'),
    [
        ('Python', {'python/version': [3, 9, 1]}, 'error', '3.9.1', 'Python 3.10 or newer'),
        ('torch', {'probe/torch': ERROR}, 'error', '2.15.0 is installed, but', 'pip install torch'),
        (
            'torch',
            {'probe/torch': dict(version='2.5.1+cu121')},
            'error',
            '2.9 or newer is needed',
            'pip install --upgrade torch',
        ),
        (
            'torchvision',
            {'probe/torchvision ops': dict(error='RuntimeError: torchvision::nms does not exist')},
            'error',
            'torchvision::nms does not exist',
            'torch torchvision',
        ),
        (
            'numpy',
            {'probe/numpy bridge': dict(error='RuntimeError: Numpy is not available')},
            'error',
            'torch cannot use it',
            "'numpy<2'",
        ),
        (
            'setuptools',
            {'probe/pkg_resources': ERROR, 'distributions': {'setuptools': '82.0.1'}},
            'error',
            '82.0.1: has no pkg_resources',
            "pip install 'setuptools<81'",
        ),
        (
            'setuptools',
            {'probe/pkg_resources': ERROR, 'distributions': FORKED},
            'ok',
            'does without',
            '',
        ),
        (
            'mm packages',
            {'distributions': FORKED},
            'warning',
            'onedl-',
            f'onedl-mmdetection=={TESTED_FORKS["onedl-mmdetection"]}',
        ),
        ('mm packages', {'distributions': FORKED | TESTED_FORKS}, 'ok', 'onedl-mmcv 2.', ''),
        (
            'mm packages',
            {'distributions': {'onedl-mmcv': '2.3.6'}},
            'error',
            'onedl-* forks overwrite each other',
            'pip uninstall --yes mmengine mmcv-lite mmdet mmsegmentation mmpretrain onedl-mmcv &&',
        ),
        (
            'mm packages',
            {'distributions': {'mmcv': '2.1.0'}},
            'error',
            'mmcv and mmcv-lite are one module',
            'pip uninstall --yes mmcv mmcv-lite',
        ),
        (
            'mm packages',
            {'distributions': {'mmcv': '2.2.0', 'mmcv-lite': None}},
            'error',
            'mmcv must be at least 2.0.0 and below 2.2.0',
            f'pip uninstall --yes mmcv && {INSTALL}',  # or mmcv-lite would come to lie beside it
        ),
        (
            'mm packages',
            {'distributions': COMPILED | {'mmdet': '3.2.0'}},
            'error',
            'mmdet must be at least 3.3',
            f'{INSTALL.replace(LITE, "")}',
        ),
        (
            'OpenCV',
            {'distributions': {'opencv-python-headless': '4.10.0'}},
            'warning',
            'opencv-python 5.0.0.93, opencv-python-headless 4.10.0 write to one folder; in use is',
            'pip uninstall --yes opencv-python opencv-python-headless && pip install',
        ),
        (
            'OpenCV',
            {'probe/cv2': dict(version=None, file=None)},
            'error',
            'cv2 is an empty folder',
            'opencv-python && pip install --force-reinstall --no-deps opencv-python',
        ),
        (
            'OpenCV',
            {'probe/cv2': failing('libGL.so.1: cannot open shared object file')},
            'error',
            'opencv-python: ImportError: libGL.so.1',
            'pip install opencv-python-headless  # or install',
        ),
        (
            'OpenCV',
            {
                'probe/cv2': failing("No module named 'cv2'"),
                'distributions': {'opencv-python': None},
            },
            'error',
            'not installed',
            'pip install opencv-python',
        ),
        (
            'mm packages',
            {'distributions': {'mmsegmentation': None}, 'probe/mmseg.apis': ERROR},
            'error',
            'missing: mmsegmentation',
            INSTALL,
        ),
        (
            'imports',
            {'probe/mmdet.apis': dict(error='AssertionError: MMCV==2.2.0 is used')},
            'error',
            'mmdet cannot be imported; the first: AssertionError: MMCV==2.2.0 is used',
            INSTALL,
        ),
        (
            'imports',
            {
                'probe/mmcv.ops': failing('/x/mmcv/_ext.cpython-311.so: undefined symbol: _ZN3c10'),
                'distributions': COMPILED,
            },
            'error',
            'mmcv.ops cannot be imported',
            'pip uninstall --yes mmcv mmcv-lite && ',
        ),
        (
            'imports',
            {
                'probe/mmcv.ops': failing('/x/mmcv/_ext.cpython-311.so: undefined symbol: _ZN3c10'),
                'distributions': FORKED,
            },
            'error',
            'mmcv.ops cannot be imported',
            '--no-build-isolation onedl-mmcv',
        ),
        (
            'imports',
            {'probe/mmdet.apis': dict(error='ValueError: numpy.dtype size changed, may indicate')},
            'error',
            'numpy.dtype size changed',
            '--force-reinstall --no-deps pycocotools',
        ),
        (
            'imports',
            {'probe/mmseg.apis': dict(error="ModuleNotFoundError: No module named 'ftfy'")},
            'error',
            'mmseg cannot be imported',
            'pip install ftfy',
        ),
        (
            'ops',
            {'probe/ops': dict(error='ImportError: _ext.so: undefined symbol')},
            'error',
            'undefined symbol',
            "pip install 'mmcv-lite==2.1.0'",
        ),
        ('ops', {'probe/ops': dict(by='compiled')}, 'ok', 'the compiled mmcv', ''),
        (
            'GPU',
            {'probe/gpu': dict(error='RuntimeError: no kernel image is available')},
            'error',
            'no kernel image',
            'pytorch.org',
        ),
        (
            'GPU',
            {'probe/gpu': dict(cuda=None, hip=None, devices=[])},
            'warning',
            'torch is built for CPUs',
            '--force-reinstall',
        ),
        (
            'GPU',
            {'probe/gpu': dict(cuda='13.2', hip=None, devices=[])},
            'warning',
            'torch finds no GPU',
            'update the driver',
        ),
        (
            'GPU',
            {'probe/gpu': dict(cuda='13.2', hip=None, devices=[]), 'driver': False},
            'warning',
            'torch is built for CUDA 13.2',
            'docker run --gpus all',
        ),
        (
            'GPU',
            {'probe/gpu': dict(cuda=None, hip=None, devices=[]), 'driver': False},
            'warning',
            'none: training runs on the CPU',
            'the demo does not',
        ),
        ('GPU', {'probe/gpu/bf16': False}, 'ok', 'float16 (no bfloat16)', ''),
        ('start-up', {'startup/installed': False}, 'warning', 'not installed', 'with pip'),
        ('start-up', {'startup/switch': '0'}, 'warning', 'GLMIX_STARTUP=0', 'unset it'),
        ('disk', {'disk/free': 0.3e9}, 'error', '0.3 GB free', '--work-dir'),
        ('disk', {'disk/free': 2e9}, 'error', '5 checkpoints of 0.56 GB', '--work-dir'),
        ('disk', {'disk/free': 2e9, 'config': 'my.py'}, 'warning', '5 checkpoints', '--work-dir'),
        ('disk', {'disk/shared': 64 * 2**20}, 'warning', '/dev/shm has 64 MiB', '--shm-size'),
        (
            'data',
            {'probe/data': dict(error='UserError: train data: /d is missing; expected a/, b/')},
            'error',
            'train data: /d is missing',
            'expected a/, b/',
        ),
        (
            'weights',
            {'probe/weights': dict(error='UserError: x.pth is not in /a. Fetch the file')},
            'error',
            'x.pth is not in /a',
            'Fetch the file',
        ),
        (
            'layers',
            {'probe/layers': dict(error="UserError: neck.up needs the op 'a'; choose another")},
            'error',
            "neck.up needs the op 'a'",
            'choose another',
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_fix(name, changes, verdict, found, fix):
    finding = diagnose(changes)[name]
    assert finding.verdict == verdict
    assert found in finding.found
    assert fix in finding.fix
    assert bool(fix) == bool(finding.fix)
    if finding.fix.startswith('pip'):  # then it can be pasted, from the text as well
        subprocess.run(['bash', '-n', '-c', finding.fix], check=True)
        assert f'-> {finding.fix}\n' in command.to_text([finding], 'a')


@pytest.mark.parametrize('topic', sorted(good()['probe']))
@pytest.mark.parametrize('state', ['error', 'absent'])
def test_no_check_stumbles_over_what_others_lack(topic, state):
    facts = good()
    if state == 'error':
        facts['probe'][topic] = dict(ERROR)
    else:
        places = list(facts['probe'])
        for later in places[places.index(topic) :]:  # Python ended there
            del facts['probe'][later]
    findings = command.diagnose(facts)
    assert len(findings) == len(CHECKS)
    if topic != 'pkg_resources' or state == 'absent':
        assert command.would_fail(findings)


def test_nothing_known_at_all():
    facts = good()
    facts['probe'] = {}
    findings = command.diagnose(facts)
    assert command.would_fail(findings)
    assert 'would fail here' in command.to_text(findings, 'a')


def test_a_process_that_died_is_told():
    lines = '["torch", null]\n["torch", {"version": "2.15"}]\n["mmcv", null]\n'
    facts = read_facts(lines, 'Python ended with status -11')
    assert facts['torch'] == dict(version='2.15')
    assert facts['mmcv']['error'] == 'Python ended with status -11'


def test_the_home_folder_is_shortened(monkeypatch):
    monkeypatch.setenv('HOME', '/home/jane')
    findings = diagnose({'probe/data': dict(folders=['/home/jane/coco'])})
    text = command.to_text(findings.values(), 'a')
    assert '~/coco' in text
    assert 'jane' not in text
    report = json.loads(command.to_json(list(findings.values()), 'a'))
    assert report['would_fail'] is False
    assert report['checks'][0] == dict(name='Python', verdict='ok', found='3.11.7, Linux', fix='')


def test_versions_are_those_of_the_requirements():
    files = [ROOT / 'requirements' / f'{name}.txt' for name in ('mminstall', 'optional')]
    lines = [line for file in files for line in file.read_text().splitlines()]
    wanted = {r.name: r for r in (Requirement(x) for x in lines if x and x[0] != '#')}
    assert set(SUPPORTED) == set(wanted) | {'mmcv'}
    for name, requirement in wanted.items():
        bounds = {s.operator: release(s.version) for s in requirement.specifier}
        assert SUPPORTED[name] == (bounds['>='], bounds['<'])
        pinned = f'{name}==' + {k: v for k, v in VERSIONS.items() if v}[name]
        assert pinned in INSTALL
        assert pinned in (ROOT / 'requirements' / 'constraints.txt').read_text()


def test_every_requirement_has_a_lower_bound():
    lines = []
    for name in ('runtime', 'mminstall', 'optional', 'deploy', 'tests', 'docs'):
        lines += (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    wanted = [Requirement(line) for line in lines if line and line[0] != '#']
    assert len(wanted) > 20
    assert [r.name for r in wanted if '>=' not in {s.operator for s in r.specifier}] == []


def test_a_missing_module_is_installed_by_its_distribution_s_name():
    installed = metadata.packages_distributions()
    checked = 0
    for module in (*PROVIDERS, 'regex', 'ftfy', 'scipy', 'terminaltables', 'pycocotools'):
        fix = known_fix(f"ModuleNotFoundError: No module named '{module}'")
        asked = canonicalize_name(fix.removeprefix('pip install '))
        if module in installed:
            assert asked in map(canonicalize_name, installed[module])
            checked += 1
    assert checked > 8


@pytest.mark.parametrize(
    ('torch', 'changes', 'said'),
    [
        ('2.5.1+cpu', {}, 'would replace 2.5.1+cpu by a build for CUDA'),
        (None, {}, 'installs a build for CUDA'),
        ('2.5.1+cu121', {}, ''),
        ('2.5.1+cpu', {'driver': True}, ''),
        ('2.5.1+cpu', {'python/system': 'macOS-15'}, ''),
    ],
)
def test_a_torch_for_cpus_is_spared(torch, changes, said):
    probe = dict(version=torch) if torch else failing("No module named 'torch'")
    facts = {'driver': False, 'probe/torch': probe, 'distributions': {'torch': torch}}
    fix = diagnose(facts | changes)['torch'].fix
    assert fix.startswith('pip install') and 'torch torchvision' in fix
    assert said in fix
    assert ('--index-url https://download.pytorch.org/whl/cpu' in fix) == bool(said)
    subprocess.run(['bash', '-n', '-c', fix], check=True)
