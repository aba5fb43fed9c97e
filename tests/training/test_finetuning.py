"""Fine-tuning from start to end: the three snippets together in a config of one's own."""

import torch
from runs import read_log, train

from glmix_mm.checkpoints.safe_reading import read_checkpoint

MOMENTUM = 0.25


def test_the_snippets_together(nano_detector, demo_root, tmp_path):
    config = tmp_path / 'own.py'
    names = ('layer_decay', 'ema', 'frozen')
    bases = [nano_detector, *(f'glmix_mm::_base_/finetune/{name}.py' for name in names)]
    config.write_text(
        f'_base_ = {bases}\n'
        'optim_wrapper = _base_.layer_decay\n'
        'custom_hooks = _base_.ema\n'
        'model = _base_.frozen\n'
    )
    options = ('train_cfg.max_epochs=1', f'custom_hooks.0.momentum={MOMENTUM}')
    assert train(str(config), demo_root, tmp_path / 'wd', '--cfg-options', *options) == 0
    assert [line['step'] for line in read_log(tmp_path / 'wd')] == [1, 2]
    checkpoint = read_checkpoint(tmp_path / 'wd' / 'epoch_1.pth')
    # mmengine saves the average as the model, and the trained weights beside it.
    average, latest = checkpoint['state_dict'], checkpoint['ema_state_dict']
    groups = checkpoint['optimizer']['param_groups']
    rates = {group['param_name']: group['lr'] for group in groups}
    assert not any(name.startswith('backbone.stages.0.') for name in rates)
    first = 'backbone.stages.2.blocks.0.ffn.reduce.weight'
    last = 'backbone.norm3.weight'
    assert abs(rates[first] / rates[last] - 0.9**3) < 1e-9
    frozen = 'backbone.stages.1.blocks.0.ffn.reduce.weight'
    assert torch.equal(average[frozen], latest[f'module.{frozen}'])
    assert not torch.equal(average[first], latest[f'module.{first}'])
