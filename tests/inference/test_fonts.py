"""Names of classes are written in a font that has their characters."""

import logging

import pytest
from mmengine.logging import MMLogger

from glmix_mm.inference.fonts import font_for

NOWHERE = '\ufdd0'  # Unicode gives this number to no character


def looks(font, text):
    return bytes(font.getmask(text)), font.getmask(text).size


@pytest.mark.parametrize('text', ['Körper', 'Ångström 0.93', 'Ежик', 'Ζεύς', 'čtverec', 'كرة'])
def test_every_character_has_a_look_of_its_own(text):
    font = font_for(text, 24)
    assert all(looks(font, c) != looks(font, NOWHERE) for c in text if not c.isspace())


def test_ascii_keeps_its_font():
    assert font_for('person 0.93', 16).getname() == ('Aileron', 'Regular')
    assert font_for('Körper', 16).getname() == ('DejaVu Sans', 'Book')
    assert font_for('Körper', 16).size == 16


def test_what_no_font_has_is_said_once():
    said, logger = [], MMLogger.get_current_instance()
    handler = logging.Handler()
    handler.emit = lambda record: said.append((record.levelno, record.getMessage()))
    logger.addHandler(handler)
    try:
        for text in (f'a {NOWHERE} 0.91', f'b {NOWHERE} 0.92', 'Körper'):
            font_for(text, 16)
    finally:
        logger.removeHandler(handler)
    ((level, message),) = said
    assert level == logging.WARNING
    assert repr(NOWHERE) in message
