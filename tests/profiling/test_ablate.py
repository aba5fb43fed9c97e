"""The table of the paper's ablations, on tiny stand-ins of its models."""

import re

import pytest
import torch

from glmix_mm.cli import run
from glmix_mm.models import GLNet
from glmix_mm.profiling import ablate, measure
from glmix_mm.profiling.flops import count

TINY = dict(channels=(32, 32, 64, 64), depths=(1, 1, 2, 1))


@pytest.fixture
def table(monkeypatch, capsys):
    built = {}

    def tiny(name):
        torch.manual_seed(0)
        branches = 'local' if name.endswith('local_only') else 'both'
        base = '4g' if name.endswith('4g') else 'stl'
        built[name] = GLNet(dict(TINY, base=base, branches=branches))
        return built[name]

    # The configs themselves are compared with the table in tests/configs.
    studies = {'branches': ablate.STUDIES['branches'], 'STL to 4G': {'4G': 'imagenet/glnet_4g'}}
    monkeypatch.setattr(ablate, 'STUDIES', studies)
    monkeypatch.setattr(ablate, 'load_model', tiny)
    monkeypatch.setattr(measure, 'MATRIX_SIZE', 64)

    def call(*args):
        status = run(
            ablate.main, ['--shape', '32', '64', '--rounds', '1', '--device', 'cpu', *args]
        )
        return status, *capsys.readouterr(), built

    return call


def test_every_choice_has_its_row(table):
    status, out, _, built = table()
    assert status == 0
    rows = [re.split(r'\s{2,}', line.strip()) for line in out.splitlines()[3:]]
    choices = [(study, *item) for study, items in ablate.STUDIES.items() for item in items.items()]
    for (study, choice, name), row in zip(choices, rows, strict=False):
        assert row[0] == f'{study}: {choice}'
        counted = count(built[name], (32, 64)).model
        assert row[1] == f'{counted.parameters / 1e6:.2f} M'
        assert row[2] == f'{counted.multiply_adds / 1e9:.2f} G'
        images, ms = float(row[3]), float(row[4])
        assert images * ms == pytest.approx(1000, rel=0.01)
        published = ablate.PUBLISHED.get(name)
        assert row[6] == (f'{published} %' if published else '-')
        assert name != ablate.BASE or row[5] == '1.00 x'
    assert 'Classifiers at 32 x 64, 1 in a batch' in out
