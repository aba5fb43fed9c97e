"""The cross-entropy with class weights is torch's where pixels are ignored."""

import pytest
import torch
from torch.nn import functional

from glmix_mm.models.cross_entropy import WeightedCrossEntropyLoss

IGNORED = 255
WEIGHTS = [0.1, 1.0, 2.0, 0.5]


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('ignored', [0, 5, 32])
@pytest.mark.parametrize('counted', [True, False])
def test_cross_entropy_with_class_weights(ignored, counted):
    torch.manual_seed(0)
    scores = torch.randn(2, 4, 4, 4, requires_grad=True)
    labels = torch.randint(4, (2, 4, 4))
    labels.view(-1)[:ignored] = IGNORED
    loss = WeightedCrossEntropyLoss(class_weight=WEIGHTS, avg_non_ignore=counted)
    found = loss(scores, labels, ignore_index=IGNORED)
    (gradient,) = torch.autograd.grad(found, scores)
    assert gradient.isfinite().all()
    if ignored == 32:  # torch's is 0 / 0
        assert not found and not gradient.any()
        return
    expected = functional.cross_entropy(scores, labels, torch.tensor(WEIGHTS), ignore_index=IGNORED)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, scores)[0])
