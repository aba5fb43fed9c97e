"""The pages build without a warning, and what they name is there.

That their commands and snippets run is for test_classify_page.py, test_commands.py,
test_deploy_page.py, test_own_data_page.py, test_proofs.py, test_set_up.py, test_snippets.py and
training/test_every_model.py.
"""

import os
import re
import subprocess
import sys

import pytest
from pages import FENCE, INLINE, PAGES, ROOT, commands, snippets

from glmix_mm.config.load_config import load_config
from glmix_mm.utils.arguments import make_parser

# Commands in a fence of another language would be missed.
LANGUAGES = {'bash', 'bibtex', 'console', 'python', 'text'}
LANGUAGES |= {'{eval-rst}', '{include}', '{toctree}'}  # for Sphinx
EACH_PAGE = pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
SETTING = re.compile(r'(?:--cfg-options )?([a-z]\w+(?:\.\w+)+=[^.\s]\S*)')
RUN = re.compile(r'work_dirs/(\w+)/epoch_(\d+)\.pth')


@EACH_PAGE
def test_links_lead_somewhere(page):
    for link in re.findall(r'\]\(([^)#]+)', page.read_text()):
        assert link.startswith('https://') or (page.parent / link).exists(), link


@EACH_PAGE
def test_fences_are_of_known_kinds(page):
    text = page.read_text()
    assert {language for language, _ in FENCE.findall(text)} <= LANGUAGES
    assert '```' not in FENCE.sub('', text)


@EACH_PAGE
def test_named_files_are_there(page):
    for name in INLINE.findall(FENCE.sub('', page.read_text())):
        if re.fullmatch(r'(configs|docs|glmix_mm|requirements|tests|tools)/[\w/]+\.\w+', name):
            assert (ROOT / name).is_file(), name


def test_named_settings_fit_a_config(small):
    names = [name for page in PAGES for name in INLINE.findall(FENCE.sub('', page.read_text()))]
    settings = {found[1] for found in map(SETTING.fullmatch, names) if found}
    assert len(settings) > 3
    for setting in settings:
        argv = ['maskrcnn_glnet_4g_3x', '--cfg-options', setting]
        args = make_parser('').parse_args(argv)
        assert load_config(args.config, args.cfg_options)


def test_there_are_commands_and_snippets():
    assert len(commands()) > 60 and len(snippets()) > 15


def test_the_last_epochs_are_the_recipes():
    runs = {found for command in commands() for found in RUN.findall(command)}
    assert runs
    for name, epoch in runs:
        assert load_config(name).train_cfg.max_epochs == int(epoch)


@pytest.mark.slow
def test_pages_build_without_a_warning(tmp_path):
    pytest.importorskip('sphinx', reason='the pages are built with Python 3.11 or newer')
    done = subprocess.run(
        [sys.executable, '-m', 'sphinx', '-W', '-q', ROOT / 'docs', tmp_path / 'html'],
        env=dict(os.environ, HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '<h1>Install' in (tmp_path / 'html' / 'install.html').read_text()
    assert 'id="glmix_mm.load"' in (tmp_path / 'html' / 'api.html').read_text()
