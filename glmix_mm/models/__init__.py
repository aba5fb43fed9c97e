"""The backbones; importing this registers them in mmengine's root registry."""

from .dilateformer import DilateFormer
from .fcvit import FCViT
from .glnet import GLNet

__all__ = ['DilateFormer', 'FCViT', 'GLNet']
