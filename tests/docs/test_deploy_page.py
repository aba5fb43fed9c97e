"""The commands and the snippet of the page on deployment, in their order."""

import json
import sys
from pathlib import Path

import pytest
from pages import ROOT, fenced, snippets

pytestmark = pytest.mark.slow

PAGE = ROOT / 'docs' / 'deploy.md'


def test_a_checkpoint_becomes_predictions(shell, monkeypatch):
    install, exported, predict = fenced(PAGE)
    assert install.startswith('pip ')  # test_set_up.py
    outcome = shell.run(exported)
    assert outcome.status == 0, outcome.err
    written = {'model.onnx', 'model.boxes.onnx', 'model.masks.onnx', 'run_onnx.py'}
    assert written <= set(outcome.out.splitlines())
    assert outcome.out.count('ONNX Runtime differs from torch by at most') == 3

    outcome = shell.run(predict)
    assert (outcome.status, outcome.out) == (0, 'predictions/predictions.json\n'), outcome.err
    content = json.loads(Path('predictions/predictions.json').read_text())
    (image,) = content['images']
    assert image['file_name'] == 'photo.jpg'
    numbers = {category['id'] for category in content['categories']}
    assert {one['category_id'] for one in content['annotations']} <= numbers
    assert content['annotations'][0]['image_id'] == image['id']

    (snippet,) = snippets([PAGE])
    monkeypatch.syspath_prepend('')
    monkeypatch.delitem(sys.modules, 'run_onnx', raising=False)
    names = {}
    try:
        exec(snippet.code, names)
    finally:
        sys.modules.pop('run_onnx', None)
    result = names['result']
    count = len(result['boxes'])
    assert count and result['masks'].shape == (count, 60, 80)
    assert result['scores'].shape == result['labels'].shape == (count,)
