"""How configs are found and loaded, and what is said when that fails."""

import re

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS

import glmix_mm
from glmix_mm.compat.startup import config_root
from glmix_mm.config.config_keys import refuse_unread_arguments
from glmix_mm.config.load_config import find_config, load_config
from glmix_mm.errors import UserError
from glmix_mm.utils.arguments import make_parser
from glmix_mm.utils.registry_errors import config_mistakes

SHIPPED = 'maskrcnn_glnet_4g_3x'


def message_of(call, *args):
    with pytest.raises(UserError) as caught:
        call(*args)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def write(folder, name, text):
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.mark.parametrize(
    'name', [SHIPPED, f'{SHIPPED}.py', f'glmix_mm::{SHIPPED}.py', f'glmix_mm::{SHIPPED}']
)
def test_shipped_configs_by_name_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = load_config(name)
    assert cfg.model.backbone.arch == '4g'
    assert cfg.filename == str(config_root() / f'{SHIPPED}.py')


def test_a_file_goes_before_a_shipped_config_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, f'{SHIPPED}.py', "model = dict(type='Mine')")
    assert load_config(f'{SHIPPED}.py').model.type == 'Mine'


def test_no_such_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = message_of(find_config, 'maskrcn_glnet_4g_3x')
    assert str(tmp_path / 'maskrcn_glnet_4g_3x') in message
    assert str(config_root()) in message
    assert 'did you mean maskrcnn_glnet_4g_3x.py' in message
    assert '_base_' not in message


def test_no_such_config_in_a_folder_of_ones_own(tmp_path):
    write(tmp_path, 'my_detector.py', '')
    message = message_of(find_config, str(tmp_path / 'my_detectro.py'))
    assert 'did you mean my_detector.py?' in message


def test_no_such_shipped_config():
    message = message_of(find_config, 'glmix_mm::upernet_glnet_5g_160k.py')
    assert 'upernet_glnet_4g_160k.py' in message
    assert 'there is no file' not in message


def test_a_folder_or_another_kind_of_file_is_no_config(tmp_path):
    assert 'is a folder' in message_of(find_config, str(tmp_path))
    assert 'expected a file in .py' in message_of(find_config, write(tmp_path, 'a.txt', ''))


def test_a_syntax_error_is_located(tmp_path):
    path = write(tmp_path, 'broken.py', 'a = 1\nmodel = dict(type=\n')
    assert re.search(r'broken\.py:2: SyntaxError: .*never closed', message_of(load_config, path))


def test_a_syntax_error_in_a_base_is_located(tmp_path):
    write(tmp_path, 'base.py', '\n\na = = 1\n')
    path = write(tmp_path, 'broken.py', "_base_ = './base.py'\n")
    message = message_of(load_config, path)
    assert f'{tmp_path / "base.py"}:3: SyntaxError: invalid syntax' in message


def test_an_exception_in_a_config_is_located(tmp_path):
    write(tmp_path, 'base.py', 'a = 1\n')
    path = write(tmp_path, 'broken.py', "_base_ = './base.py'\nb = 2\nc = _base_.d + b\n")
    message = message_of(load_config, path)
    assert f'{path}:3: ' in message
    assert "attribute 'd'" in message


def test_a_missing_base_is_named(tmp_path):
    path = write(tmp_path, 'broken.py', "_base_ = './nowhere.py'\n")
    message = message_of(load_config, path)
    assert path in message
    assert 'nowhere.py' in message


def test_a_missing_custom_import_is_named(tmp_path):
    path = write(tmp_path, 'broken.py', "custom_imports = dict(imports=['no_such_module_x'])\n")
    message = message_of(load_config, path)
    assert "No module named 'no_such_module_x'" in message
    assert 'sys.path' not in message


def test_options_change_settings():
    options = {
        'model.backbone.drop_path_rate': 0.5,
        'train_dataloader.dataset.pipeline.2.scales': [(64, 64)],
        'randomness.seed': 3,
        'find_unused_parameters': True,
    }
    cfg = load_config(SHIPPED, options)
    assert cfg.model.backbone.drop_path_rate == 0.5
    assert cfg.train_dataloader.dataset.pipeline[2].scales == [(64, 64)]
    assert cfg.randomness.seed == 3
    assert cfg.find_unused_parameters is True


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({'modle.backbone.arch': '9g'}, r"'modle'; .*model"),
        ({'data_root': 'x'}, 'train_dataloader.dataset.data_root'),
        ({'train_pipeline.0.x': 1}, 'such as train_dataloader.dataset.pipeline'),
        ({'train_cfg.max_epochs.first': 1}, r'train_cfg.max_epochs.first: .*max_epochs'),
        ({'train_dataloader.dataset.pipeline.99.scale': 1}, r'99.scale: .*99 exceeds'),
    ],
)
def test_options_that_do_not_fit(options, expected):
    assert re.search(expected, message_of(load_config, SHIPPED, options))


@pytest.mark.parametrize(
    ('model', 'expected'),
    [
        (dict(type='GLNett'), r"mine.py: .*'GLNett'.*mean GLNet"),
        (dict(type='GLNet', ach='4g'), r"mine.py: .*'ach'"),
        (dict(arch='4g'), 'mine.py: .*has no type'),
    ],
)
def test_mistakes_in_a_config_that_show_when_it_is_built(model, expected):
    with pytest.raises(UserError, match=expected), config_mistakes('mine.py'):
        MODELS.build(Config(dict(model=model)).model)


def test_a_misspelt_arch_lists_the_variants():
    with pytest.raises(UserError) as caught, config_mistakes('mine.py'):
        MODELS.build(dict(type='GLNet', arch='4gg'))
    assert all(name in str(caught.value) for name in ('4gg', 'stl', '4g', '9g', '16g', 'nano'))


def test_faults_of_the_program_pass_through():
    @MODELS.register_module(name='FaultyForTests', force=True)
    def build():
        return {}['a bug'] if glmix_mm else None

    with pytest.raises(KeyError, match='a bug'), config_mistakes('mine.py'):
        MODELS.build(dict(type='FaultyForTests'))
    with pytest.raises(TypeError, match='unsupported'), config_mistakes('mine.py'):
        _ = 1 + 'a'


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('optimizer = dict(lr=0.1)', r"'optimizer' .*optim_wrapper\.optimizer"),
        ('data = dict(samples_per_gpu=2)', r"'data' .*train_dataloader"),
        ('lr_config = dict(step=[1])', r"'lr_config' .*param_scheduler"),
        ('runner = dict(max_epochs=1)', r"'runner' .*train_cfg"),
        ('evaluation = dict(interval=1)', r"'evaluation' .*val_evaluator"),
        ('total_epochs = 3', r"'total_epochs' .*train_cfg\.max_epochs"),
        ('max_epochs = 3', r"'max_epochs' .*train_cfg\.max_epochs"),
        ('train_dataloder = dict(batch_size=1)', 'did you mean train_dataloader'),
        ('optim_wraper = dict()', 'did you mean optim_wrapper'),
        ('visualiser = dict()', 'did you mean visualizer'),
    ],
)
def test_keys_that_nothing_reads_are_refused_in_files(text, expected, tmp_path):
    mine = write(tmp_path, 'mine.py', f"_base_ = 'glmix_mm::{SHIPPED}.py'\n{text}\n")
    child = write(tmp_path, 'child.py', "_base_ = './mine.py'\n")
    for path in (mine, child):
        message = message_of(load_config, path)
        assert 'mine.py' in message and re.search(expected, message)


def test_such_a_key_is_refused_in_json(tmp_path):
    base = config_root() / f'{SHIPPED}.py'
    path = write(tmp_path, 'a.json', f'{{"_base_": "{base}", "total_epochs": 1}}')
    assert 'train_cfg.max_epochs' in message_of(load_config, path)


def test_names_of_ones_own_are_welcome(tmp_path):
    write(tmp_path, 'values.py', 'max_epochs = 3\nseed = 5\n')
    path = write(
        tmp_path,
        'mine.py',
        f"""_base_ = ['glmix_mm::{SHIPPED}.py', './values.py']
dataset_type, data_root = 'CocoDataset', 'data/'
test_dataset = img_scales = train_pipeline = backend_args = my_models = None
optimizer = dict(lr=1e-3)
optim_wrapper = dict(optimizer=optimizer)
train_cfg = dict(max_epochs=_base_.max_epochs)
randomness = dict(seed={{{{_base_.seed}}}})
""",
    )
    cfg = load_config(path)
    assert cfg.train_cfg.max_epochs == 3 and cfg.randomness.seed == 5
    cfg.dump(tmp_path / 'dumped.py')
    assert load_config(str(tmp_path / 'dumped.py')).optim_wrapper.optimizer.lr == 1e-3


@pytest.mark.parametrize('name', ['mmseg::cgnet/cgnet_fcn_4xb4-60k_cityscapes-680x680.py'])
def test_a_key_of_2x_that_a_base_keeps_is_refused_as_an_option(name, tmp_path):
    path = write(tmp_path, 'mine.py', f"_base_ = '{name}'\n")
    assert load_config(path).optimizer.type == 'Adam'
    message = message_of(load_config, path, {'optimizer.lr': 0.1})
    assert 'optim_wrapper.optimizer' in message


@pytest.mark.parametrize(
    ('value', 'expected'),
    [
        ("dict(type='X', k=1)", dict(type='X', k=1)),
        ("{'type': 'X', 'k': [dict(a=(1, 2))]}", dict(type='X', k=[dict(a=(1, 2))])),
        ('[dict(a=-1),dict(a=None)]', [dict(a=-1), dict(a=None)]),
        ('[1,2]', [1, 2]),
        ('dict', 'dict'),
    ],
)
def test_options_may_hold_dicts(value, expected):
    args = make_parser('').parse_args(['x', '--cfg-options', f'a.b={value}'])
    assert args.cfg_options == {'a.b': expected}


@pytest.mark.parametrize('value', ['dict(a=b)', '{a', 'dict(**x)', '[dict(1)]'])
def test_what_is_no_dict_is_refused(value):
    with pytest.raises(UserError, match=r'a\.b=.*plain values'):
        make_parser('').parse_args(['x', '--cfg-options', f'a.b={value}'])


def test_arguments_that_the_checkpoint_hook_would_swallow():
    hook = dict(type='CheckpointHook', interval=1, by_epoch=False, max_keep_ckpts=2)
    refuse_unread_arguments(dict(default_hooks=dict(checkpoint=hook)))
    with pytest.raises(UserError, match=r'checkpoint\.intervall: .*mean interval'):
        refuse_unread_arguments(dict(default_hooks=dict(checkpoint=dict(hook, intervall=5))))


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({'auto_scale_lr.enabled': True}, r'auto_scale_lr\.enabled: .*mean enable\?'),
        ({'env_cfg.cudnn_benchmrk': True}, r'env_cfg\.cudnn_benchmrk: .*cudnn_benchmark\?'),
        ({'default_hooks.checkpoint': 'best'}, r"default_hooks\.checkpoint: .*found 'best'"),
        ({'auto_resume': True}, r'auto_resume.*resume=True'),
        ({'gpu_ids': [0]}, r'gpu_ids.*launcher'),
    ],
)
def test_settings_that_mmengine_takes_without_a_look(options, expected):
    load_config('demo/maskrcnn_glnet_nano', {'auto_scale_lr.enable': True})
    with pytest.raises(UserError, match=expected):
        load_config('demo/maskrcnn_glnet_nano', options)


def test_only_several_processes_build_mmcvs_synchronised_norms():
    options = {'model.neck.norm_cfg': dict(type='MMSyncBN', stats_mode='N', eps=1e-4)}
    cfg = load_config('demo/semfpn_glnet_nano', options)
    assert cfg.model.neck.norm_cfg == dict(type='BN', eps=1e-4)
    cfg = load_config('demo/semfpn_glnet_nano', options, launcher='pytorch')
    assert cfg.model.neck.norm_cfg.type == 'MMSyncBN'
