"""Sphinx builds these pages: sphinx-build -W docs docs/_build (requirements/docs.txt)."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]

project = 'glmix_mm'
author = 'the glmix_mm authors'
copyright = '2026, the glmix_mm authors'
version = release = re.search(
    r"__version__ = '(.+)'", (ROOT / 'glmix_mm' / 'version.py').read_text()
)[1]
extensions = ['myst_parser']
myst_heading_anchors = 3
exclude_patterns = ['_build']
html_theme = 'furo'
html_title = f'glmix_mm {version}'
