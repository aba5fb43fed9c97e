"""Small models of every kind that can be exported, with outputs that differ clearly."""

import torch
from mmengine.model import revert_sync_batchnorm

from glmix_mm.cli import run
from glmix_mm.config.load_config import load_config
from glmix_mm.data.demo_set import DEMO_CLASSES, DEMO_SEG_CLASSES
from glmix_mm.deploy import export
from glmix_mm.models.build import build_model
from glmix_mm.models.glnet import ARCHS

# One block a stage: the exporter's time grows with the number of operations.
GLNET = dict(vars(ARCHS['nano']), _delete_=True, channels=(32, 32, 32, 32), depths=(1, 1, 1, 1))
DILATEFORMER = dict(
    _delete_=True, channels=(24, 24, 24, 24), depths=(1, 1, 1, 1), heads=(3, 3, 3, 3)
)
FCVIT = dict(_delete_=True, channels=(16, 16, 16, 16), depths=(1, 1, 1, 1), ffn_ratios=(1, 1, 1, 1))
DETECTOR = {
    'model.neck.out_channels': 16,
    'model.backbone.init_cfg': None,
    'test_dataloader.dataset.metainfo': dict(classes=DEMO_CLASSES),
}
SEGMENTOR = {
    'model.backbone.init_cfg': None,
    'model.decode_head.num_classes': len(DEMO_SEG_CLASSES),
    'test_dataloader.dataset.type': 'BaseSegDataset',
    'test_dataloader.dataset.metainfo': dict(classes=DEMO_SEG_CLASSES),
}


def extractor(kind):
    return {f'model.roi_head.{kind}_roi_extractor.out_channels': 16}


MODELS = {
    'maskrcnn': (
        'maskrcnn_glnet_4g_1x',
        DETECTOR
        | extractor('bbox')
        | extractor('mask')
        | {
            'model.backbone.arch': GLNET,
            'model.neck.in_channels': [32] * 4,
            'model.rpn_head.in_channels': 16,
            'model.rpn_head.feat_channels': 16,
            'model.roi_head.bbox_head.in_channels': 16,
            'model.roi_head.bbox_head.fc_out_channels': 16,
            'model.roi_head.bbox_head.num_classes': len(DEMO_CLASSES),
            'model.roi_head.mask_head.in_channels': 16,
            'model.roi_head.mask_head.conv_out_channels': 16,
            'model.roi_head.mask_head.num_convs': 1,
            'model.roi_head.mask_head.num_classes': len(DEMO_CLASSES),
            'test_dataloader.dataset.pipeline.1.scale': (96, 64),
        },
    ),
    'retinanet': (
        'retinanet_dilateformer_tiny_1x',
        DETECTOR
        | {
            'model.backbone.arch': DILATEFORMER,
            'model.neck.in_channels': [24] * 3,
            'model.bbox_head.in_channels': 16,
            'model.bbox_head.feat_channels': 16,
            'model.bbox_head.stacked_convs': 1,
            'model.bbox_head.num_classes': len(DEMO_CLASSES),
            'test_dataloader.dataset.pipeline.1.scale': (96, 64),
        },
    ),
    'semfpn': (
        'semfpn_fcvit_b12_40k',
        SEGMENTOR
        | {
            'model.backbone.arch': FCVIT,
            'model.neck.in_channels': [16] * 4,
            'model.neck.out_channels': 16,
            'model.decode_head.in_channels': [16] * 4,
            'model.decode_head.channels': 16,
            'test_dataloader.dataset.pipeline.1.scale': (256, 64),
        },
    ),
    'upernet': (
        'upernet_glnet_4g_160k',
        SEGMENTOR
        | {
            'model.backbone.arch': GLNET,
            'model.data_preprocessor.size': (64, 96),
            'model.decode_head.in_channels': [32] * 4,
            'model.decode_head.channels': 16,
            'model.auxiliary_head': None,
            'test_dataloader.dataset.pipeline.1.scale': (256, 64),
        },
    ),
    'classifier': (
        'imagenet/fcvit_tiny',
        {
            'model.backbone.arch': FCVIT,
            'model.neck.in_channels': 16,
            'model.head.in_channels': 16,
            'model.head.num_classes': 2,
            'test_dataloader.dataset.metainfo': dict(classes=('dark', 'light')),
            'test_dataloader.dataset.pipeline.1.scale': 73,
            'test_dataloader.dataset.pipeline.2.crop_size': 64,
        },
    ),
}
MODELS['binary'] = (
    'upernet_glnet_4g_160k',
    MODELS['upernet'][1]
    | {
        'model.decode_head.num_classes': 2,
        'model.decode_head.out_channels': 1,
        'model.decode_head.threshold': 0.45,
        'model.decode_head.loss_decode.use_sigmoid': True,
        'test_dataloader.dataset.metainfo': dict(classes=('ground', 'object')),
    },
)


class Case:
    """A model, what it was exported to, and where."""

    def __init__(self, kind, folder):
        name, options = MODELS[kind]
        self.cfg = load_config(name, options)
        self.config, self.weights = folder / 'config.py', folder / 'weights.pth'
        self.path = folder / f'{kind}.onnx'
        torch.manual_seed(0)
        self.model = revert_sync_batchnorm(build_model(self.cfg)).eval()
        spread(self.model)
        self.cfg.dump(self.config)
        classes = self.cfg.test_dataloader.dataset.metainfo.classes
        meta = dict(dataset_meta=dict(classes=classes))
        torch.save(dict(state_dict=self.model.state_dict(), meta=meta), self.weights)

    def export(self, *options):
        """Call the tool; return the case."""
        arguments = [self.config, self.weights, self.path, *options]
        assert run(export.main, list(map(str, arguments))) == 0
        return self


# Standard deviation of a last layer's weights, but for the width of the layer.
GAINS = dict(
    rpn_cls=2, rpn_reg=0.1, retina_cls=0.2, retina_reg=0.1, fc_cls=2, fc_reg=0.5, conv_logits=1
)
GAINS |= dict(conv_seg=1, fc=1)


def spread(model):
    """Give the last layers weights so that no two scores are nearly equal, as those of a trained
    model are not."""
    for name, module in model.named_modules():
        gain = GAINS.get(name.split('.')[-1])
        if gain and hasattr(module, 'weight'):
            torch.nn.init.normal_(module.weight, std=gain * module.weight[0].numel() ** -0.5)
