"""The backbones; importing this registers them in mmengine's root registry."""

from .glnet import GLNet

__all__ = ['GLNet']
