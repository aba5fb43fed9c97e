"""What makes a backbone its authors' image classifier: a last norm, the mean, a linear layer.

The linear layer is mmpretrain's ``LinearClsHead``; :class:`NormPool` is the neck before it.
"""

from collections.abc import Sequence

from mmengine.registry import MODELS
from torch import Tensor, nn

from ..errors import UserError
from .layers import BatchNorm2d, GroupNorm1, LayerNorm2d
from .pretrained import Rename, align, below, find_weights, rename

NORMS = {'batch': BatchNorm2d, 'layer': LayerNorm2d, 'group': GroupNorm1}
# Keys of the official checkpoints besides the backbone's -> keys of mmpretrain's ImageClassifier.
RENAMES = (
    Rename(r'^norm\.', 'neck.norm.'),
    Rename(r'^head\.', 'head.fc.'),
    Rename(r'^tklb_aux_head\.', 'head.dense_fc.'),
)
OFFICIAL_PARTS = ('norm.', 'head.', 'tklb_aux_head.')


@MODELS.register_module()
class NormPool(nn.Module):
    """Normalises the last map and averages it over its positions.

    Args:
        in_channels: channels of the last map.
        norm: 'batch' (GLNet's), 'layer' (DilateFormer's) or 'group', one group (FCViT's).
        keep_map: whether to give the normalised map as well, which token labeling classifies.

    Raises:
        UserError: an unknown norm.
    """

    def __init__(self, in_channels: int, norm: str, keep_map: bool = False):
        super().__init__()
        if norm not in NORMS:
            raise UserError(f'NormPool: norm={norm!r} is none of {", ".join(NORMS)}')
        self.norm = NORMS[norm](in_channels)
        self.keep_map = keep_map

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map the last of the maps, (N, C, h, w), to a tuple of one vector per image, (N, C).

        With ``keep_map``, the normalised map, (N, C, h, w), stands before the vectors.
        """
        normalised = self.norm(maps[-1])
        mean = normalised.mean((2, 3))
        return (normalised, mean) if self.keep_map else (mean,)


def official_weights(model: nn.Module, content: object, source: str) -> dict[str, Tensor] | None:
    """Return the weights of an official classification checkpoint under a classifier's own names.

    Args:
        model: any model; one with the neck :class:`NormPool` has official checkpoints.
        content: of the checkpoint.
        source: the checkpoint's name, for messages.

    Returns:
        The weights, nothing of them left out; None if the model has no official checkpoints, or
        the checkpoint has the model's own names already.

    Raises:
        UserError: the model has official checkpoints, and there are no weights in this one.
    """
    if not isinstance(getattr(model, 'neck', None), NormPool):
        return None
    state, _ = find_weights(content, source)
    state = below(state, 'module.') or state
    if any(key.startswith('backbone.') for key in state):
        return None
    expected = model.state_dict()
    named = {_own_name(key, model.backbone.renames): value for key, value in state.items()}
    return {key: align(value, expected.get(key)) for key, value in named.items()}


def _own_name(key: str, renames: Sequence[Rename]) -> str:
    if key.startswith(OFFICIAL_PARTS):
        return rename(key, RENAMES)
    return f'backbone.{rename(key, renames)}'
