"""The import hooks, and an installed wheel outside the repository."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

import glmix_mm
from glmix_mm.checkpoints.safe_reading import read_checkpoint
from glmix_mm.compat.startup import find_forked_package
from glmix_mm.config.load_config import load_config
from glmix_mm.data.demo_set import write_demo_dataset
from glmix_mm.models.build import build_model

pytestmark = pytest.mark.slow  # it installs
ROOT = Path(__file__).parents[2]


def run(python, *arguments, cwd, code=0, **variables):
    command = [str(python), *map(str, arguments)]
    env = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'} | variables
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope='module')
def outside(tmp_path_factory):
    """A Python that has the wheel built from the source archive, and everything else from this
    one's packages."""
    folder = tmp_path_factory.mktemp('outside')
    source = folder / 'source'
    tracked = ('glmix_mm', 'configs', 'tools', 'requirements', 'setup.py', 'pyproject.toml')
    others = ('README.md', 'LICENSE', 'CHANGELOG.md', 'CITATION.cff', 'CONTRIBUTING.md')
    for name in (*tracked, *others, 'MANIFEST.in', 'model-index.yml'):
        path = ROOT / name
        copy = shutil.copytree if path.is_dir() else shutil.copyfile
        (source).mkdir(exist_ok=True)
        copy(path, source / name)
    pip = (sys.executable, '-m', 'pip', '--quiet', '--disable-pip-version-check')
    flags = ('--no-deps', '--no-build-isolation', '--no-index')
    build = f'from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})'
    run(sys.executable, '-c', build, cwd=source)
    archive = next(folder.glob('glmix_mm-*.tar.gz'))
    run(*pip, 'wheel', *flags, '--wheel-dir', folder / 'checkout', source, cwd=folder)
    run(*pip, 'wheel', *flags, '--wheel-dir', folder, archive, cwd=folder)
    return install(next(folder.glob('glmix_mm-*.whl')), folder / 'venv')


def install(wheel, folder):
    """Return a new Python that has a wheel, and everything else from this one's packages."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / 'bin' / 'python'
    find = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(python, '-c', find, cwd=folder).strip())
    pip = (sys.executable, '-m', 'pip', '--quiet', '--disable-pip-version-check')
    flags = ('--no-deps', '--no-index')
    run(*pip, '--python', python, 'install', *flags, wheel, cwd=folder)
    # The other packages; a plain path entry, so that their own .pth files stay out, but for that
    # of setuptools: mmengine needs distutils, which Python 3.12 dropped.
    shim = 'import _distutils_hack; _distutils_hack.add_shim()'
    (site / 'others.pth').write_text(f'{sysconfig.get_path("purelib")}\n{shim}\n')
    return python


@pytest.fixture(scope='module')
def editable(outside):
    """A Python that has an editable installation of the source beside that of ``outside``."""
    folder = outside.parents[2]
    build = f'from setuptools import build_meta; build_meta.build_editable({str(folder)!r})'
    run(sys.executable, '-c', build, cwd=folder / 'source')
    return install(next(folder.glob('*editable*.whl')), folder / 'editable')


def test_the_source_archive_gives_the_wheel_of_the_checkout(outside):
    folder = outside.parents[2]
    found = {}
    for place in (folder, folder / 'checkout'):
        with zipfile.ZipFile(next(place.glob('*.whl'))) as wheel:
            found[place] = {name: wheel.read(name) for name in wheel.namelist()}
    archived, direct = found.values()
    assert archived == direct
    index = yaml.safe_load(archived['glmix_mm/.mim/model-index.yml'])
    assert all(f'glmix_mm/.mim/{name}' in archived for name in (*index['Import'], 'README.md'))
    with tarfile.open(next(folder.glob('*.tar.gz'))) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    assert {
        'CHANGELOG.md',
        'CITATION.cff',
        'CONTRIBUTING.md',
        'LICENSE',
        'model-index.yml',
    } <= names


def test_wheel_installs_the_command(outside, tmp_path):
    assert run(outside.parent / 'glmix', '--help', cwd=tmp_path).startswith('usage: glmix COMMAND')


def test_wheel_carries_configs_and_tools(outside, tmp_path):
    code = 'import glmix_mm; print(glmix_mm.__file__); print(glmix_mm.compat.startup.config_root())'
    package, configs = run(outside, '-c', code, cwd=tmp_path).splitlines()
    assert str(ROOT) not in package
    shipped = {p.relative_to(configs) for p in Path(configs).rglob('*.py')}
    assert shipped == {p.relative_to(ROOT / 'configs') for p in (ROOT / 'configs').rglob('*.py')}
    assert (Path(configs).parent / 'tools' / 'train.py').is_file()


MINE = """
_base_ = 'glmix_mm::demo/{base}'
data_root = '{root}/'
train_dataloader = dict(batch_size=2, dataset=dict(data_root=data_root, indices=None))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2))
"""
ANNOTATIONS = """
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator
"""


@pytest.mark.parametrize(
    ('library', 'base', 'data', 'more'),
    [
        ('mmdet', 'maskrcnn_glnet_nano.py', 'coco', ANNOTATIONS),
        ('mmseg', 'semfpn_glnet_nano.py', 'ade/ADEChallengeData2016', ''),
    ],
)
def test_the_libraries_own_train_runs_an_inherited_config(
    outside, tmp_path, library, base, data, more
):
    root = write_demo_dataset(tmp_path / 'demo', num_train=4, num_val=2, image_size=64)
    (tmp_path / 'mine.py').write_text(MINE.format(base=base, root=root / data) + more)
    find = f"import importlib.util as u; print(u.find_spec('{library}').origin)"
    package = Path(run(outside, '-c', find, cwd=tmp_path).strip()).parent
    tool = package / '.mim' / 'tools' / 'train.py'
    output = run(outside, tool, 'mine.py', '--work-dir', tmp_path / 'work', cwd=tmp_path)
    assert 'Iter(val) [1/1]' in output
    state = read_checkpoint(tmp_path / 'work' / 'iter_2.pth')['state_dict']
    assert 'backbone.stages.0.blocks.0.mixer.slot_scale' in state


@pytest.mark.parametrize(
    ('library', 'name', 'weights'),
    [('mmdet', 'maskrcnn_glnet_4g_3x', 'glnet_4g'), ('mmseg', 'upernet_glnet_9g_160k', 'glnet_9g')],
)
def test_shipped_configs_ask_for_their_weights(outside, tmp_path, library, name, weights):
    code = f"""
import warnings; warnings.simplefilter('ignore')
from mmengine.config import Config
cfg = Config.fromfile('mine.py')
import {library}.models, {library}.registry
model = {library}.registry.MODELS.build(cfg.model)
try:
    model.init_weights()
except Exception as error:
    print(error)
"""
    (tmp_path / 'mine.py').write_text(f"_base_ = 'glmix_mm::{name}.py'\n")
    output = run(outside, '-c', code, cwd=tmp_path)
    assert f'glmix://{weights}: {weights}.pth is not in' in output


THREE_LINES = """
import sys, warnings; warnings.simplefilter('ignore')
for config, weights in ({det!r}, {seg!r}):
    from glmix_mm import load
    model = load(config, checkpoint=weights, device='cpu')
    result = model({image!r})
    print(type(result).__name__, [key for key in result.keys() if key.startswith('pred')])
"""


def test_three_lines_with_the_wheel(outside, tmp_path):
    models = {}
    for kind, config in (('det', 'maskrcnn_glnet_nano'), ('seg', 'semfpn_glnet_nano')):
        models[kind] = (f'demo/{config}', str(tmp_path / f'{kind}.pth'))
        torch.save(build_model(load_config(models[kind][0])).state_dict(), models[kind][1])
    root = write_demo_dataset(tmp_path / 'demo', num_train=1, num_val=1, image_size=64)
    image = str(next((root / 'coco' / 'val2017').iterdir()))
    output = run(outside, '-c', THREE_LINES.format(image=image, **models), cwd=tmp_path)
    assert "DetDataSample ['pred_instances']" in output
    assert "SegDataSample ['pred_sem_seg']" in output


def test_timm_knows_the_models_if_it_is_imported_first(outside, tmp_path):
    pytest.importorskip('timm')
    code = """
import sys, timm
assert not {'glmix_mm', 'mmengine'} & sys.modules.keys(), 'the hook at the start leaves timm alone'
import glmix_mm, torch
model = timm.create_model('glnet_nano', features_only=True).eval()
print([tuple(map_.shape) for map_ in model(torch.zeros(1, 3, 64, 96))])
"""
    expected = '[(1, 32, 16, 24), (1, 64, 8, 12), (1, 128, 4, 6), (1, 192, 2, 3)]'
    assert run(outside, '-c', code, cwd=tmp_path).splitlines()[-1] == expected


def test_hooks_cost_nothing_and_import_nothing(outside, tmp_path):
    late = {'torch', 'glmix_mm', 'mmengine', 'importlib.abc', 'importlib.util', 'pathlib', 'typing'}
    code = f'import sys; print({late} & sys.modules.keys())'
    (path,) = outside.parents[1].rglob('_glmix_mm_startup.py')
    # Without other packages' .pth files, some of which load all this.
    code = f'import sys; sys.path.append({str(path.parent)!r}); import _glmix_mm_startup; {code}'
    assert run(outside, '-S', '-c', code, cwd=tmp_path).strip() == 'set()'


def test_ops_are_served_before_glmix_mm_is_imported(outside, tmp_path):
    run(outside, '-c', 'import mmdet.apis, mmseg.apis', cwd=tmp_path)


@pytest.mark.parametrize('kind', ['outside', 'editable'])
def test_both_installations_have_the_hook_and_its_switch(kind, request, tmp_path):
    python = request.getfixturevalue(kind)
    (tmp_path / 'mine.py').write_text("_base_ = 'glmix_mm::maskrcnn_glnet_4g_1x'\n")
    code = """
import mmcv.ops
from mmengine.config import Config
print(Config.fromfile('mine.py', import_custom_modules=False).model.type)
"""
    assert run(python, '-c', code, cwd=tmp_path).splitlines()[-1] == 'MaskRCNN'
    off = run(python, '-c', code, cwd=tmp_path, code=1, GLMIX_STARTUP='0')
    assert "No module named 'mmcv._ext'" in off


@pytest.mark.parametrize('kind', ['outside', 'editable'])
def test_what_glmix_mm_adds_reaches_modules_that_are_imported_later(kind, request, tmp_path):
    """The finder of the start of Python is another copy's, and must know of it all the same."""
    code = """
import importlib, sys, glmix_mm
(finder,) = [f for f in sys.meta_path if type(f).__name__ == 'PatchFinder']
late = sorted(n for n in finder.patches if n.startswith('mm') and n not in sys.modules)
for name in late:
    importlib.import_module(name)
print('mmcv.ops' in late)
if importlib.util.find_spec('timm'):
    import timm
    assert 'timm.models' in finder.patches and 'glnet_nano' in timm.list_models()
"""
    printed = run(request.getfixturevalue(kind), '-c', code, cwd=tmp_path).splitlines()
    assert printed[-1] == 'True'


def test_the_editable_installation_runs_the_checkout(editable, tmp_path):
    source = editable.parents[2] / 'source'
    code = 'import glmix_mm; print(glmix_mm.__file__); print(glmix_mm.compat.startup.config_root())'
    package, configs = run(editable, '-c', code, cwd=tmp_path).splitlines()[-2:]
    assert Path(package) == source / 'glmix_mm' / '__init__.py'
    assert Path(configs) == source / 'configs'
    (source / 'glmix_mm').rename(source / 'elsewhere')
    try:  # a checkout that is gone takes nothing else with it
        assert run(editable, '-c', 'print(1)', cwd=tmp_path).strip() == '1'
    finally:
        (source / 'elsewhere').rename(source / 'glmix_mm')


@pytest.mark.parametrize(
    ('installed', 'expected'), [('mmsegmentation', 'mmsegmentation'), ('onedl-mmcv', 'mmseg')]
)
def test_mmseg_s_configs_are_found_under_either_name(monkeypatch, installed, expected):
    def distribution(name):
        if name != installed:
            raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, 'distribution', distribution)
    module = SimpleNamespace(MODULE2PACKAGE={'mmseg': 'mmsegmentation'})
    find_forked_package(module)
    assert {'mmseg': expected} == module.MODULE2PACKAGE


def test_the_release_is_stated_alike():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert citation['version'] == glmix_mm.__version__
    version, _, development = glmix_mm.__version__.partition('.dev')
    stated = re.search(r'^## (\S+) \((.+)\)$', (ROOT / 'CHANGELOG.md').read_text(), re.MULTILINE)
    assert stated[1] == version
    assert re.fullmatch('unreleased' if development else r'\d{4}-\d\d-\d\d', stated[2])


def test_installing_twice_adds_no_second_hook():
    before = list(sys.meta_path)
    glmix_mm.compat.ready()
    assert sys.meta_path == before


def test_mmpretrains_inferencer_takes_names(tmp_path):
    from mmpretrain import ImageClassificationInferencer, list_models

    name = 'glmix_mm::demo/classifier_glnet_nano'
    cfg = load_config(name)
    state = build_model(cfg).state_dict()
    classes = dict(classes=cfg.test_dataloader.dataset.metainfo.classes)
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=classes)), tmp_path / 'w.pth')
    for known in (name, 'glmix_mm::classifier_glnet_nano'):
        inferencer = ImageClassificationInferencer(known, str(tmp_path / 'w.pth'), device='cpu')
        found = inferencer.model.state_dict()
        assert all(torch.equal(found[key], value) for key, value in state.items())
    assert 'glmix_mm::imagenet/glnet_4g' in list_models(task='Image Classification')
    assert not list_models('glmix_mm::maskrcnn')


@pytest.mark.parametrize('library', ['mmdet', 'mmseg'])
def test_inferencers_take_names(library, tmp_path):
    name = dict(mmdet='maskrcnn', mmseg='semfpn')[library] + '_glnet_nano'
    cfg = load_config(f'demo/{name}')
    classes = dict(classes=cfg.test_dataloader.dataset.metainfo.classes)
    state = build_model(cfg).state_dict()
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=classes)), tmp_path / 'w.pth')
    from mmdet.apis import DetInferencer
    from mmseg.apis import MMSegInferencer

    make = dict(mmdet=DetInferencer, mmseg=MMSegInferencer)[library]
    inferencer = make(f'glmix_mm::{name}', str(tmp_path / 'w.pth'), device='cpu')
    found = inferencer.model.state_dict()
    assert all(torch.equal(found[key], value) for key, value in state.items())
    with pytest.raises(FileNotFoundError, match='did you mean'):
        make(f'glmix_mm::{name[:-1]}', device='cpu')
    with pytest.raises(ValueError, match='Cannot find model: no_such_model'):
        make('no_such_model', device='cpu')
