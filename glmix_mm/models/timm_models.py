"""The backbones as timm's models: ``timm.create_model('glnet_4g', features_only=True)``.

Imported, once timm is there, by ``import glmix_mm`` (:func:`glmix_mm.set_up`),
and never without it. The classifiers' keys are those of this project's ImageNet configs.
"""

from collections import OrderedDict
from collections.abc import Sequence

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import adapt_input_conv, build_model_with_cfg, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from ..checkpoints.compare_states import compare_states
from ..checkpoints.released_weights import RELEASES, SCHEME
from ..checkpoints.safe_reading import load_checkpoint
from ..errors import UserError
from . import dilateformer, fcvit, glnet
from .classifier import NormPool, official_weights
from .evaluation import check_evaluation, find_evaluation

FAMILIES = {
    'glnet': (glnet.GLNet, glnet.ARCHS, 'batch'),
    'dilateformer': (dilateformer.DilateFormer, dilateformer.ARCHS, 'layer'),
    'fcvit': (fcvit.FCViT, fcvit.ARCHS, 'group'),
}
STRIDES = (4, 8, 16, 32)
CLASSES = 1000


class Classifier(nn.Module):
    """A backbone with its authors' classifier, as timm expects a model to be.

    Args:
        family: 'glnet', 'dilateformer' or 'fcvit'.
        arch: the variant.
        num_classes: 0 for none: the model then returns the mean of the last map.
        drop_rate: of the features before the last layer.
        drop_path_rate: of the last block's residual branches.
        in_chans: channels of the images; for others than 3, the first convolution's weights are
            summed (1) or repeated and scaled, as timm does.
        global_pool: 'avg'.
        release: name of the authors' weights to load, '' for none.

    Raises:
        UserError: images without channels, another pooling, or the weights are missing or do not
            fit.
    """

    def __init__(
        self,
        family: str,
        arch: str,
        num_classes: int = CLASSES,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        in_chans: int = 3,
        global_pool: str = 'avg',
        release: str = '',
    ):
        super().__init__()
        if in_chans < 1 or global_pool != 'avg':
            raise UserError(
                f'{family}_{arch}: in_chans={in_chans}, global_pool={global_pool!r}; the models '
                "take in_chans from 1 on and global_pool='avg' only"
            )
        backbone, archs, norm = FAMILIES[family]
        channels = archs[arch].channels
        self.backbone = backbone(
            arch, drop_path_rate=drop_path_rate, out_indices=(3,), output_norms=False
        )
        self.neck = NormPool(channels[-1], norm)
        self.num_features = self.head_hidden_size = channels[-1]
        self.feature_info = [
            dict(num_chs=dim, reduction=stride, module=f'backbone.stages.{stage}')
            for stage, (dim, stride) in enumerate(zip(channels, STRIDES, strict=True))
        ]
        drop, fc = nn.Dropout(drop_rate), nn.Identity()
        self.head = nn.Sequential(OrderedDict(drop=drop, fc=fc))
        self.reset_classifier(num_classes)
        if release:
            self._load(release)
        if in_chans != 3:
            stem = self.backbone.stages[0].embed[0]
            stem.weight = nn.Parameter(adapt_input_conv(in_chans, stem.weight.detach()))
            stem.in_channels = in_chans

    def _load(self, release: str) -> None:
        """Load the authors' weights, all but those of a classifier of other classes."""
        source = SCHEME + release
        content = load_checkpoint(source)
        state = official_weights(self, content, source) or content['state_dict']
        kept = {} if self.num_classes == CLASSES else self.head.state_dict(prefix='head.')
        state = {key: value for key, value in state.items() if not key.startswith('head.')} | (
            kept or {key: value for key, value in state.items() if key.startswith('head.')}
        )
        counters = [key for key in self.state_dict() if key.endswith('num_batches_tracked')]
        difference = compare_states(self.state_dict(), state, optional=counters)
        if difference:
            raise UserError(f'{source} does not fit {release}: {difference.describe()}')
        self.load_state_dict(state, strict=False)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) to the normalised last map (N, C, h, w)."""
        return self.neck.norm(self.backbone(x)[-1])

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map the last map to logits (N, classes), or to what goes into their layer, (N, C)."""
        x = self.head.drop(x.mean((2, 3)))
        return x if pre_logits else self.head.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) to logits (N, classes)."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ):
        """Return the maps of stages, and the last one normalised (or the maps alone).

        Args:
            x: images (N, 3, H, W).
            indices: stages, or how many of the last; by default all.
            norm: whether to normalise the last of the maps.
            stop_early: not used: stages that are not wanted are removed beforehand.
            output_fmt: 'NCHW'.
            intermediates_only: whether to leave out the normalised last map.

        Raises:
            UserError: another ``output_fmt``.
        """
        if output_fmt != 'NCHW':
            raise UserError(f'output_fmt={output_fmt!r}: the maps are NCHW')
        wanted, _ = feature_take_indices(len(self.feature_info), indices)
        maps = self.backbone.forward_stages(x)
        last = len(self.feature_info) - 1
        chosen = [self.neck.norm(maps[i]) if norm and i == last else maps[i] for i in wanted]
        return chosen if intermediates_only else (self.neck.norm(maps[-1]), chosen)

    def prune_intermediate_layers(
        self,
        indices: int | Sequence[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Remove what the maps of these stages do not need; return the stages."""
        wanted, last = feature_take_indices(len(self.feature_info), indices)
        self.backbone.stages = self.backbone.stages[: last + 1]
        if prune_norm:
            self.neck.norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0)
        return wanted

    def get_classifier(self) -> nn.Module:
        """Return the last layer."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the last layer by a new one for so many classes; by none for 0.

        Raises:
            UserError: a pooling other than the mean.
        """
        if global_pool not in (None, 'avg'):
            raise UserError(f"global_pool={global_pool!r}: the models have 'avg' only")
        self.num_classes = num_classes
        self.head.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        if num_classes:
            nn.init.trunc_normal_(self.head.fc.weight, std=0.02)
            nn.init.zeros_(self.head.fc.bias)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the blocks' activations in the backward pass, or not."""
        self.backbone.with_cp = enable


def _describe(name: str) -> dict:
    """Return what timm knows of a model besides its function."""
    evaluation = find_evaluation(name)
    return dict(
        url='',
        num_classes=CLASSES,
        input_size=(3, 224, 224),
        pool_size=(7, 7),
        crop_pct=evaluation.crop,
        interpolation=evaluation.interpolation,
        mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD,
        first_conv='backbone.stages.0.embed.0',
        classifier='head.fc',
    )


def _register(family: str, arch: str) -> None:
    """Register a variant under the name of its release, such as 'glnet_4g'."""
    name = f'{family}_{arch}'

    def create(pretrained: bool = False, **kwargs) -> nn.Module:
        if pretrained and name not in RELEASES:
            raise UserError(f'{name}: there are no weights for it; set pretrained=False')
        options = dict(family=family, arch=arch, release=name if pretrained else '')
        feature_cfg = dict(out_indices=tuple(range(len(STRIDES))), feature_cls='getter')
        # Weights are the constructor's: timm would look for them on the network.
        model = build_model_with_cfg(
            Classifier, name, False, feature_cfg=feature_cfg, **options, **kwargs
        )
        cfg = model.pretrained_cfg
        check_evaluation(name, cfg['crop_pct'], cfg['interpolation'])
        return model

    create.__name__ = create.__qualname__ = name
    default_cfgs[name] = _describe(name)
    register_model(create)


default_cfgs: dict[str, dict] = {}  # timm looks for this name
for _family, (_, _archs, _) in FAMILIES.items():
    for _arch in _archs:
        _register(_family, _arch)
