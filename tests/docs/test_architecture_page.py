"""The pictures of the architecture are those that the script draws from a model."""

import runpy

from pages import ROOT


def test_the_pictures_are_up_to_date():
    pictures = runpy.run_path(str(ROOT / 'docs' / 'draw_architecture.py'))['draw']()
    assert len(pictures) == 2
    for name, picture in pictures.items():
        assert (ROOT / 'docs' / name).read_text() == picture, 'run docs/draw_architecture.py'
