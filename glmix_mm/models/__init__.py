"""The backbones and the classifiers' neck; importing this registers them in the root registry."""

from .classifier import NormPool
from .dilateformer import DilateFormer
from .fcvit import FCViT
from .glnet import GLNet

__all__ = ['DilateFormer', 'FCViT', 'GLNet', 'NormPool']
