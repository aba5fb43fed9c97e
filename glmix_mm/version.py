"""The package's version."""

__version__ = '0.2.0.dev0'  # CONTRIBUTING.md has the steps of a release
