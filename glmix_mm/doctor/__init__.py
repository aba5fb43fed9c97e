"""``glmix doctor``: what would keep the main job from running, and what to do about it.

It has to work where packages are missing or broken, so nothing outside the standard library is
imported in its process, and this package is not set up there (``utils/commands.py``).
"""
