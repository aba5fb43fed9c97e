"""Sphinx builds these pages: sphinx-build -W docs docs/_build (requirements/docs.txt)."""

import re
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the API pages document the checkout's own package
warnings.filterwarnings('ignore', module='mm|pkg_resources|torch')

project = 'glmix_mm'
author = 'the glmix_mm authors'
copyright = '2026, the glmix_mm authors'
version = release = re.search(
    r"__version__ = '(.+)'", (ROOT / 'glmix_mm' / 'version.py').read_text()
)[1]
extensions = ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
exclude_patterns = ['_build']

myst_heading_anchors = 3
nb_execution_mode = 'off'  # the pages show what the notebook has; a test runs it

autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented'
autodoc_member_order = 'bysource'
python_use_unqualified_type_names = True

html_theme = 'furo'
html_title = f'glmix_mm {version}'
html_static_path = ['_static']
html_css_files = ['pages.css']
