"""The exported form of pooling beside torch's own."""

import pytest
import torch
from torch.nn import functional as F

from glmix_mm.models.ops import portable


@pytest.mark.parametrize('size', [(14, 14), (1, 3), (8, 16), (5, 40), (33, 7), (23, 29)], ids=str)
@pytest.mark.parametrize('grid', [(8, 8), (3, 6), (1, 1)], ids=str)
def test_pooling_as_products_is_exact(size, grid, monkeypatch):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    monkeypatch.setattr(portable, 'exporting', lambda: True)
    found = portable.adaptive_avg_pool2d(x, grid)
    torch.testing.assert_close(found, F.adaptive_avg_pool2d(x, grid), rtol=1e-12, atol=1e-12)
