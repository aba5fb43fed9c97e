"""What makes the loss of a batch the same however many processes share it, and notes it."""

import json
from pathlib import Path

from mmdet.models.task_modules.samplers import RandomSampler
from mmdet.registry import TASK_UTILS
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch.nn.modules.batchnorm import _BatchNorm


@TASK_UTILS.register_module()
class FirstSampler(RandomSampler):
    """Takes the first anchors or proposals, not random ones."""

    def random_choice(self, gallery, num):
        return gallery[:num]


@HOOKS.register_module()
class NoteLosses(Hook):
    """Puts batch norms in eval mode; writes the processes' mean losses of each step to a file."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for module in runner.model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        losses = {}
        for name, value in outputs.items():
            losses[name] = value.detach().clone()
            all_reduce(losses[name], 'mean')
        if is_main_process():
            with open(Path(runner.work_dir) / 'losses.json', 'a') as file:
                print(json.dumps({name: float(value) for name, value in losses.items()}), file=file)
