"""Where the authors' released weights are looked up, by names such as ``glmix://glnet_4g``."""

import os
from pathlib import Path
from typing import NamedTuple

import torch

from ..errors import UserError

SCHEME = 'glmix://'


class Source(NamedTuple):
    """Where the authors of a release publish it.

    Attributes:
        page: the page that links to the file.
        links: what to know of these links.
    """

    page: str
    links: str


GLNET = Source(
    'https://github.com/rayleizhu/GLMix#model-card',
    'OneDrive links need a browser',
)
DILATEFORMER = Source(
    'https://github.com/JIAOJIAYUASD/dilateformer#imagenet-1k-pre-trained-weights',
    'it links to a Google Drive folder of all variants',
)
FCVIT = Source(
    'https://github.com/ma-xu/FCViT#2-fcvit-models',
    'it links to a Google Drive folder of each variant',
)
# Name of the released file here, without its ending -> where it is published.
RELEASES = {
    'glnet_4g': GLNET,
    'glnet_9g': GLNET,
    'glnet_16g': GLNET,
    'glnet_4g_tklb': GLNET,
    'glnet_9g_tklb': GLNET,
    'glnet_stl': GLNET,
    'glnet_stl_paramslot': GLNET,
    'dilateformer_tiny': DILATEFORMER,
    'dilateformer_small': DILATEFORMER,
    'dilateformer_base': DILATEFORMER,
    'fcvit_tiny': FCVIT,
    'fcvit_b12': FCVIT,
    'fcvit_b24': FCVIT,
    'fcvit_b48': FCVIT,
}


def search_folders() -> list[Path]:
    """Return the folders that are searched, first to last."""
    named = os.environ.get('GLMIX_CHECKPOINTS')
    folders = [Path(named).expanduser()] if named else []
    return [*folders, Path('checkpoints'), Path(torch.hub.get_dir()) / 'checkpoints']


def find_release(name: str) -> Path:
    """Return the local file of a release; nothing is downloaded.

    Args:
        name: such as ``glmix://glnet_4g``.

    Raises:
        UserError: no such release, or its file is in none of the folders; the message says where
            to get it and where to put it.
    """
    release = name.removeprefix(SCHEME)
    if release not in RELEASES:
        raise UserError(f'{name}: no such release; known are {", ".join(RELEASES)}')
    filename = f'{release}.pth'
    folders = search_folders()
    for folder in folders:
        if (folder / filename).is_file():
            return folder / filename
    looked = ', '.join(str(folder.absolute()) for folder in folders)
    source = RELEASES[release]
    raise UserError(
        f'{name}: {filename} is not in {looked}. Download it from {source.page} '
        f'({source.links}) and save it as {filename} in one of these folders, or in one that '
        '$GLMIX_CHECKPOINTS names; or train without pretrained weights (--from-scratch, or '
        'model.backbone.init_cfg=None in the config)'
    )
