"""Recipes fitted to few or small GPUs: arithmetic, schedules, and a measured step."""

import copy
import functools
import itertools
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

from glmix_mm.cli import run
from glmix_mm.config.load_config import load_config
from glmix_mm.errors import UserError
from glmix_mm.models.build import build_model
from glmix_mm.training import fit_to_gpu
from glmix_mm.training.fit_to_gpu import GIB, Budget, largest_fit, make_plan, split_batch, stretched
from glmix_mm.training.step_memory import Prober, Step, most_objects, training_shape
from glmix_mm.training.train import main


@functools.cache
def loaded(name):
    return load_config(name)


def config(name):
    return copy.deepcopy(loaded(name))


@pytest.mark.parametrize('base', [16, 32])
def test_batches_are_the_published_ones_wherever_they_can_be(base):
    for gpus, fit in itertools.product(range(1, 40), range(1, 40)):
        each, counts = split_batch(base, gpus, fit)
        assert 1 <= each <= fit
        possible = [n for n in range(1, fit + 1) if base % (n * gpus) == 0]
        if possible:  # then exactly, in the fewest iterations
            assert (each * gpus * counts, each) == (base, max(possible))
        else:  # else as near as whole iterations come
            errors = [abs(each * gpus * n - base) for n in range(1, 50)]
            assert abs(each * gpus * counts - base) == min(errors)


def test_the_smallest_batch_that_trains_is_kept():
    assert split_batch(16, 1, 7, least=2) == (4, 4)
    assert split_batch(16, 16, 7, least=2) == (2, 1)


@pytest.mark.parametrize('memory', [2, 4, 6, 7.9, 8.9, 100])
def test_what_fits_follows_a_line(memory):
    # 2 GiB held, 1.1 more an image: 3.1, 4.2, 5.3, ...; nine tenths of the memory are used.
    steps = [Step(n, 2 * GIB, int((2 + 1.1 * n) * GIB), 1.0) for n in (1, 2)]
    expected = max(n for n in range(200) if n == 0 or 2 + 1.1 * n <= 0.9 * memory)
    assert largest_fit(steps, memory * GIB) == expected


def test_what_was_too_large_for_the_gpu_does_not_fit():
    step = Step(1, GIB, 2 * GIB, 1.0)
    assert largest_fit([None, None], 80 * GIB) == 0
    assert largest_fit([step, None], 80 * GIB) == 1


def rates(cfg, iterations, every):
    """Return the learning rate that a schedule gives at every so many iterations."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    schedulers = [
        PARAM_SCHEDULERS.build(dict(settings, optimizer=optimizer))
        for settings in cfg.param_scheduler
        if not settings.get('by_epoch', True)
    ]
    optimizer.step()
    found = []
    for iteration in range(iterations):
        if iteration % every == 0:
            found.append(optimizer.param_groups[0]['lr'])
        for scheduler in schedulers:
            scheduler.step()
    return found


@pytest.mark.parametrize('name', ['semfpn_glnet_nano', 'upernet_glnet_4g_160k'])
def test_schedules_keep_their_course_over_the_images(name):
    short = {}
    if name.startswith('upernet'):
        short = {'param_scheduler.0.end': 15, 'param_scheduler.1.begin': 15}
        short |= {'param_scheduler.1.end': 160, 'train_cfg.max_iters': 160}
    cfg = config(name)
    cfg.merge_from_dict(short)
    before = rates(cfg, cfg.train_cfg.max_iters, 1)
    iterations = cfg.train_cfg.max_iters
    cfg.merge_from_dict(stretched(cfg, 4))
    assert cfg.train_cfg.max_iters == 4 * iterations
    after = rates(cfg, 4 * iterations, 4)
    # Warmups of n iterations rise in n - 1 steps, so the short ones are a little steeper.
    assert after == pytest.approx(before, abs=max(before) * 0.06)


def test_epochs_stay_and_warmup_is_stretched():
    cfg = config('maskrcnn_glnet_4g_3x')
    assert stretched(cfg, 8) == {'param_scheduler.0.end': 4000}
    assert stretched(cfg, 1) == {}


def test_averages_of_the_weights_reach_back_as_far():
    settings = stretched(config('imagenet/glnet_4g'), 16)
    assert list(settings) == ['custom_hooks.0.momentum']  # all else counts epochs
    assert (1 - settings['custom_hooks.0.momentum']) ** 16 == pytest.approx(1 - 1e-4, abs=1e-9)


def test_a_detectors_recipe_on_one_gpu_is_the_published_one():
    plan = make_plan(config('maskrcnn_glnet_4g_3x'), 1, 3, 1, trains_batch_norms=False)
    assert (plan.each, plan.counts, plan.changes) == (2, 8, [])
    assert plan.settings == {
        'train_dataloader.batch_size': 2,
        'optim_wrapper.accumulative_counts': 8,
        'param_scheduler.0.end': 4000,
    }


def test_a_segmentors_recipe_on_one_gpu_is_not():
    plan = make_plan(config('upernet_glnet_4g_160k'), 1, 5, 2, trains_batch_norms=True)
    assert (plan.each, plan.counts) == (4, 4)
    (change,) = plan.changes
    assert 'batch norms' in change and '4 images at a time instead of 16' in change
    assert plan.settings['train_cfg.max_iters'] == 640_000
    assert plan.settings['train_cfg.val_interval'] == 64_000
    assert plan.settings['param_scheduler.0.end'] == 6000
    assert plan.settings['param_scheduler.1.end'] == 640_000
    assert plan.settings['default_hooks.checkpoint.interval'] == 64_000


def test_the_learning_rate_goes_with_the_batch():
    plan = make_plan(config('maskrcnn_glnet_4g_3x'), 3, 2, 1, trains_batch_norms=False)
    assert (plan.each, plan.counts) == (2, 3)
    assert plan.settings['optim_wrapper.optimizer.lr'] == pytest.approx(1e-4 * 18 / 16)
    assert 'takes 18 images instead of 16' in plan.changes[0]


def test_the_report_says_what_is_planned():
    cfg = config('maskrcnn_glnet_4g_3x')
    plan = make_plan(cfg, 2, 4, 1, trains_batch_norms=False)
    step = Step(2, GIB, 2 * GIB, 9.0)
    lines = list(fit_to_gpu.report(cfg, plan, Budget(2, 12 * GIB), 4, 117_266, step))
    assert '4 x 2 GPUs x 2 accumulated = 16 images' in lines[0]
    assert lines[1].startswith('Learning rate: 0.0001')
    # 117,266 / 8 = 14,658.25 iterations an epoch, 36 epochs.
    assert '527724 iterations of 8 images (263862 steps), 36 epochs of 117266' in lines[2]
    assert '--dry-run' in lines[2]
    options = lines[4].removeprefix('The same without --mem: --cfg-options ').split()
    assert dict(option.split('=') for option in options) == {
        key: str(value) for key, value in plan.settings.items()
    }


def test_the_time_is_that_of_a_warm_step_times_the_iterations():
    cfg = config('maskrcnn_glnet_4g_3x')
    plan = make_plan(cfg, 2, 4, 1, trains_batch_norms=False)
    step = Step(2, GIB, 2 * GIB, 9.0, warm=0.5)  # 2 images; 4 are planned: 1 s an iteration
    length, time = fit_to_gpu.expected_length(cfg, plan, 2, 117_266, step)
    assert length.endswith('36 epochs of 117266 images')
    # 527,724 s
    assert '6.1 days on this machine: 527724 x 1 s' in time
    assert 'with 2 images, 2 GPUs' in time
    assert list(fit_to_gpu.expected_length(cfg, plan, 2, 117_266, None)) == [length]  # too large
    (length,) = fit_to_gpu.expected_length(cfg, plan, 2, None, step)
    assert length == 'Expected length: 36 epochs'
    cfg = config('upernet_glnet_4g_160k')
    length, time = fit_to_gpu.expected_length(cfg, fit_to_gpu.own_plan(cfg), 1, 20_210, step)
    assert '160000 iterations of 2 images, 15.8 epochs of 20210 images' in length
    assert '22.2 hours on this machine: 160000 x 0.5 s' in time
    found = [fit_to_gpu.duration(seconds) for seconds in (7, 119, 120, 7200, 172_800)]
    assert found == ['7 seconds', '119 seconds', '2.0 minutes', '2.0 hours', '2.0 days']


@pytest.mark.parametrize(
    ('name', 'shape'),
    [
        ('maskrcnn_glnet_4g_3x', (800, 1344)),
        ('upernet_glnet_4g_160k', (512, 512)),
        ('imagenet/glnet_4g', (224, 224)),
        ('semfpn_glnet_nano', (128, 128)),
    ],
)
def test_the_largest_training_shape(name, shape):
    assert training_shape(config(name)) == shape


def test_the_shape_of_images_that_are_not_resized(demo_root):
    options = {'train_dataloader.dataset.data_root': str(demo_root / 'coco')}
    assert training_shape(load_config('maskrcnn_glnet_nano', options)) == (64, 64)


def test_mask_heads_get_as_many_regions_as_are_sampled():
    assert most_objects(config('maskrcnn_glnet_4g_3x').model) == 128
    assert most_objects(config('cascademaskrcnn_dilateformer_tiny_3x').model) == 128
    assert most_objects(config('semfpn_glnet_nano').model) == 7
    all_taken = dict(sampler=dict(type='PseudoSampler'))  # as Sparse R-CNN has it
    assert most_objects(dict(train_cfg=dict(rpn=None, rcnn=[all_taken] * 2))) == 7


def test_a_measured_step_grows_in_proportion_to_its_images():
    cfg = config('semfpn_glnet_nano')
    model = build_model(cfg)
    prober = Prober(cfg, model, torch.device('cpu'))
    first, second = prober.run_two().values()
    # float32: weight, gradient, AdamW's two moments; buffers and counters of steps besides.
    weights = sum(p.numel() for p in model.parameters())
    buffers = sum(b.nbytes for b in model.buffers())
    assert first.held == 16 * weights + buffers + 4 * len(list(model.parameters()))
    growth = second.peak - first.peak
    assert growth > 0
    fourth = prober.run(4, timed=True)
    assert fourth.peak == pytest.approx(second.peak + 2 * growth, rel=0.02)
    assert 0 < fourth.warm < 60 and second.warm is None
    assert prober.precision == 'float32 on cpu'
    assert prober.trains_batch_norms()
    assert not any(p.grad is not None for p in model.parameters())


def test_a_model_that_needs_two_images(nano_segmentor):
    cfg = load_config(nano_segmentor)  # UperNet pools to 1 x 1, which batch norm refuses
    steps = Prober(cfg, build_model(cfg), torch.device('cpu')).run_two()
    assert list(steps) == [step.batch_size for step in steps.values()] == [2, 3]


def test_a_run_that_is_fitted(nano_detector, demo_root, tmp_path, capsys):
    arguments = [nano_detector, '--data-root', str(demo_root), '--work-dir', str(tmp_path / 'wd')]
    arguments += ['--from-scratch', '--mem', '0.14']
    options = ['--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_begin=9']
    options += ['auto_scale_lr.base_batch_size=64', 'model.train_cfg.rcnn.sampler.num=16']
    assert run(main, [*arguments, '--dry-run', *options]) == 0
    out = capsys.readouterr().out
    assert 'nothing trained (--dry-run)' in out
    assert "+        type='SafeCheckpointHook')," in out.splitlines()
    assert re.search(r'Expected time: [\d.]+ (seconds|minutes) on this machine: \d+ x ', out)
    assert not (tmp_path / 'wd').exists()
    plan = next(line for line in out.splitlines() if 'planned: ' in line)
    each, counts = map(int, re.search(r'planned: (\d+) x 1 GPUs x (\d+) accum', plan).groups())
    assert each * counts == 64 and counts > 1
    assert run(main, [*arguments, *options]) == 0
    out = capsys.readouterr().out
    assert plan in out and 'Expected time' not in out
    batch = f'{each} x 1 processes x {counts} accumulated = 64'
    assert f'Batch size: {batch}; learning rate 0.0001\n' in out


def call(capsys, *options):
    assert run(main, ['maskrcnn_glnet_4g_1x', *options]) == 1
    return capsys.readouterr().err.splitlines()[-1]


def test_options_that_do_not_go_together(capsys):
    assert '--auto-scale-lr' in call(capsys, '--mem', '8', '--auto-scale-lr')
    for option in ('--mem', '--gpus'):
        assert f'{option} 0' in call(capsys, option, '0')
    planned = 'glmix train maskrcnn_glnet_4g_1x --gpus N --mem GIB --dry-run'
    assert planned in call(capsys, '--mem', '8', '--gpus', '2')


def test_what_does_not_fit_is_refused(nano_detector, demo_root, tmp_path, capsys):
    arguments = [nano_detector, '--data-root', str(demo_root), '--work-dir', str(tmp_path / 'wd')]
    assert run(main, [*arguments, '--from-scratch', '--mem', '0.01', '--dry-run']) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith('error: --mem 0.01: ') and '64 x 64: 1 image' in line
    assert 'model.backbone.with_cp=True' in line


def test_a_config_without_a_base_batch():
    cfg = Config(dict(train_dataloader=dict(batch_size=2)))
    with pytest.raises(UserError, match=r'--mem: .*batch size'):
        make_plan(cfg, 1, 4, 1, False)
