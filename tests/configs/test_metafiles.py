"""The metafiles list every config, as OpenMMLab's own reader takes them."""

import modelindex
import pytest
from metafiles import LISTED, costs, entry, metafile
from shipped_configs import CONFIGS

ROOT = CONFIGS.parent
COUNTED = ['imagenet/glnet_4g.py', 'imagenet/fcvit_b12.py', 'maskrcnn_glnet_4g_3x.py']


@pytest.fixture(scope='module')
def models():
    index = modelindex.load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    # OpenMMLab's paths are relative to the root; its reader looks for pages beside the metafile.
    errors = [error for error in index.check(silent=True) if 'Path to README' not in error]
    assert not errors
    return {model.config: model for model in index.models}


def test_every_config_is_listed_once(models):
    assert sorted(models) == sorted(f'configs/{name}' for name in LISTED)
    assert len({model.name for model in models.values()}) == len(models)


@pytest.mark.parametrize('name', LISTED)
def test_entry_says_what_the_config_does(models, load, name):
    listed = models[f'configs/{name}']
    metadata = dict(listed.metadata.data)
    cost = {key: metadata[key] for key in ('FLOPs', 'Parameters')}
    expected = entry(name, load(name), cost)
    assert listed.name == expected['Name']
    assert listed.in_collection == expected['In Collection']
    assert expected['Metadata'].items() <= metadata.items()
    results = [result.data for result in listed.results or []]
    assert results == expected.get('Results', [])
    assert listed.full_model.paper['URL'].startswith('https://arxiv.org/abs/')
    assert (ROOT / listed.full_model.readme).is_file()
    assert (CONFIGS / metafile(name)).is_file()


@pytest.mark.parametrize('name', COUNTED)
def test_costs_are_counted(models, load, name):
    metadata = models[f'configs/{name}'].metadata.data
    assert costs(load(name)).items() <= dict(metadata).items()
