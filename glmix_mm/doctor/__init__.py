"""``glmix doctor``: what would keep the main job from running, and what to do about it.

It must work where packages are missing or broken. So its process imports nothing outside the
standard library, and does not set up this package (``utils/commands.py``).
"""
