"""How each classifier's authors test it: what part of an image it sees, and how that is resized.

The ImageNet configs and the timm models both read this table.
"""

from collections.abc import Iterable
from typing import NamedTuple

from ..errors import UserError

SIZE = 224  # px
INTERPOLATIONS = ('nearest', 'bilinear', 'bicubic', 'box', 'lanczos', 'hamming')  # Pillow's


class Evaluation(NamedTuple):
    """What a test makes of an image.

    Attributes:
        crop: the share of the resized short side that the centre crop keeps.
        interpolation: of the resizing.
    """

    crop: float
    interpolation: str = 'bicubic'


# Family, or a variant where it differs. Sources: GLMix's ConvNextV2/datasets.py and main_tklb.py,
# dilateformer's datasets.py, FCViT's models/fcvit.py.
EVALUATIONS = {
    'glnet': Evaluation(0.875),
    'glnet_4g_tklb': Evaluation(0.96),
    'glnet_9g_tklb': Evaluation(0.96),
    'dilateformer': Evaluation(0.875),
    'fcvit_tiny': Evaluation(0.9),
    'fcvit_b12': Evaluation(0.9),
    'fcvit_b24': Evaluation(0.95),
    'fcvit_b48': Evaluation(0.95),
}


def find_evaluation(name: str) -> Evaluation:
    """Return the evaluation of a classifier such as 'fcvit_b12'.

    Raises:
        UserError: neither it nor its family is in the table.
    """
    for key in (name, name.partition('_')[0]):
        if key in EVALUATIONS:
            return EVALUATIONS[key]
    raise UserError(f'{name}: no such classifier; {describe_evaluations()}')


def check_evaluation(name: str, crop: object, interpolation: object) -> None:
    """Check what a user asks for in place of a classifier's own evaluation.

    Raises:
        UserError: the crop is not a share of the image, or the interpolation is unknown.
    """
    if not (isinstance(crop, (int, float)) and 0 < crop <= 1):
        raise UserError(
            f'{name}: evaluation crop {crop!r}: expected a share of the image, above 0 and at most '
            f'1; {describe_evaluations()}'
        )
    check_interpolation(name, interpolation)


def check_interpolation(
    name: str, interpolation: object, choices: Iterable[str] = INTERPOLATIONS
) -> None:
    """Check the name of an interpolation.

    Raises:
        UserError: it is none of the choices.
    """
    if interpolation not in choices:
        raise UserError(
            f'{name}: interpolation {interpolation!r}: expected one of {", ".join(choices)}; '
            f'{describe_evaluations()}'
        )


def describe_evaluations() -> str:
    """Return the table as text."""
    entries = (f'{name} {crop:g} {how}' for name, (crop, how) in EVALUATIONS.items())
    return f"the authors' crops and interpolations: {', '.join(entries)}"


def evaluation_pipeline(
    name: str, crop: float | None = None, interpolation: str | None = None
) -> list[dict]:
    """Return mmpretrain's test pipeline of a classifier at 224 x 224 px.

    Args:
        name: such as 'fcvit_b12', or a family.
        crop: in place of the authors'.
        interpolation: in place of the authors'.

    Raises:
        UserError: no such classifier, or one of the other two makes no sense.
    """
    own = find_evaluation(name)
    crop = own.crop if crop is None else crop
    interpolation = interpolation or own.interpolation
    check_evaluation(name, crop, interpolation)
    return [
        dict(type='LoadImageFromFile'),
        dict(
            type='ResizeEdge',
            scale=int(SIZE / crop),
            edge='short',
            backend='pillow',
            interpolation=interpolation,
        ),
        dict(type='CenterCrop', crop_size=SIZE),
        dict(type='PackInputs'),
    ]
