"""What makes commands start sooner changes nothing else."""

import gc

import pytest
from mmengine.config import Config, config

from glmix_mm.utils.collector import collection_paused
from glmix_mm.utils.config_texts import formatted_once


def test_the_collector_runs_again():
    assert gc.isenabled()
    with pytest.raises(KeyError), collection_paused():
        assert not gc.isenabled()
        with collection_paused():
            pass
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()


def test_a_config_is_formatted_once_until_it_changes(monkeypatch):
    calls, original = [], config.FormatCode

    def count(*args, **kwargs):
        calls.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(config, 'FormatCode', count)
    cfg = Config(dict(model=dict(type='A', depths=[1, 2]), size=3))
    expected = cfg.pretty_text
    with formatted_once():
        assert [cfg.pretty_text, cfg.pretty_text] == [expected] * 2
        assert len(calls) == 2
        cfg.size = 4
        assert cfg.pretty_text == expected.replace('3', '4')
        assert len(calls) == 3
    assert config.FormatCode is count
