"""Images for exported models, and the runner."""

import importlib.util
import sys
from pathlib import Path

import pytest
from PIL import Image

from glmix_mm.data.demo_set import write_demo_dataset
from glmix_mm.deploy import export


@pytest.fixture(scope='session')
def photos(tmp_path_factory):
    """Return the paths of three images of the demo set, of three shapes."""
    root = write_demo_dataset(tmp_path_factory.mktemp('demo') / 'set', 3, 1, image_size=64)
    paths = sorted((root / 'coco' / 'train2017').iterdir())
    for path, size in zip(paths, ((131, 97), (96, 64), (110, 110)), strict=True):
        with Image.open(path) as image:
            image.convert('RGB').resize(size).save(path, quality=95)
    return paths


@pytest.fixture(scope='session')
def runner():
    """Return the runner as it stands beside a model: a module of its own."""
    path = Path(export.__file__).with_name('runner.py')
    spec = importlib.util.spec_from_file_location('run_onnx', path)
    module = importlib.util.module_from_spec(spec)
    sys.modules['run_onnx'] = module
    spec.loader.exec_module(module)
    return module
