"""What every test has: fixtures of tiny runs, plain config dumps, loggers of its own."""

import pytest
from runs import forget

pytest_plugins = ['tiny_runs', 'skips']


@pytest.fixture(scope='session', autouse=True)
def plain_config_dumps():
    """Let mmengine dump configs as they are: making them pretty takes half of a tiny run."""
    with pytest.MonkeyPatch.context() as patch:
        pretty = 'mmengine.config.config.FormatCode'  # which onedl-mmengine has not
        patch.setattr(pretty, lambda text, **_: (text, True), raising=False)
        yield


@pytest.fixture(autouse=True)
def own_loggers():
    """Let no run find another's logger, which holds captured stdout, or visualizer."""
    forget()  # what fixtures of other tests left
    yield
    forget()
