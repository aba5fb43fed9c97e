"""Where the authors' released weights are looked up, by names such as ``glmix://glnet_4g``."""

import os
from pathlib import Path

import torch

from ..errors import UserError

SCHEME = 'glmix://'
GLNET_CARD = 'https://github.com/rayleizhu/GLMix#model-card'
# Name of the released file, without its ending -> the page where its authors publish it.
RELEASES = {
    'glnet_4g': GLNET_CARD,
    'glnet_9g': GLNET_CARD,
    'glnet_16g': GLNET_CARD,
    'glnet_4g_tklb': GLNET_CARD,
    'glnet_9g_tklb': GLNET_CARD,
    'glnet_stl': GLNET_CARD,
    'glnet_stl_paramslot': GLNET_CARD,
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
    raise UserError(
        f'{name}: {filename} is not in {looked}. Fetch it from {RELEASES[release]} (OneDrive links '
        f'need a browser) and put it into one of these folders, the first of which '
        f'$GLMIX_CHECKPOINTS can name; or train without pretrained weights (--from-scratch, or '
        f'model.backbone.init_cfg=None in the config)'
    )
