"""Fast forms of what the models state plainly, each beside a plain form that it equals.

``with plain(): ...`` lets every model of this package compute by the plain forms, and so does
``GLMIX_PLAIN=1`` in the environment for a whole run: slower, and for reading, debugging and
comparing.
"""

from .switch import exporting, is_plain, plain

__all__ = ['exporting', 'is_plain', 'plain']
