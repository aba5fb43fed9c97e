"""Focal losses against the formula in float64, torchvision and finite differences."""

import pytest
import torch
import torchvision
from served_ops import DEVICES, ops, use_served_ops
from torch.autograd import gradcheck


@pytest.fixture(autouse=True)
def served_ops(monkeypatch):
    use_served_ops(monkeypatch)


def some_logits(rows=30, classes=5, scale=4.0):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, classes, generator=generator, dtype=torch.float64) * scale
    # every class, and the background (class 5)
    return logits, torch.arange(rows) % (classes + 1)


def naive_sigmoid_loss(logits, target, gamma, alpha, weight=None):
    p = 1 / (1 + (-logits).exp())
    loss = -(1 - alpha) * p**gamma * (1 - p).log()
    for row, label in enumerate(target.tolist()):
        if 0 <= label < logits.shape[1]:
            q = p[row, label]
            loss[row, label] = -alpha * (1 - q) ** gamma * q.log()
            if weight is not None:
                loss[row] *= weight[label]
    return loss


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize(('gamma', 'alpha'), [(2.0, 0.25), (0.0, 0.5), (1.5, 0.9)])
def test_sigmoid_equals_formula_and_torchvision(gamma, alpha, device):
    logits, target = some_logits()
    expected = naive_sigmoid_loss(logits, target, gamma, alpha)
    loss = ops.sigmoid_focal_loss(
        logits.to(device), target.to(device), gamma, alpha, None, 'none'
    ).cpu()
    torch.testing.assert_close(loss, expected)
    one_hot = torch.nn.functional.one_hot(target, 6)[:, :5].double()
    public = torchvision.ops.sigmoid_focal_loss(logits, one_hot, alpha, gamma)
    torch.testing.assert_close(loss, public)
    for reduction, total in (('sum', expected.sum()), ('mean', expected.sum() / len(target))):
        layer = ops.SigmoidFocalLoss(gamma, alpha, reduction=reduction)
        torch.testing.assert_close(layer(logits.to(device), target.to(device)).cpu(), total)


def test_sigmoid_weight_by_target():
    logits, target = some_logits()
    weight = torch.tensor([0.5, 2.0, 0.0, 3.0, 1.5], dtype=torch.float64)
    loss = ops.sigmoid_focal_loss(logits, target, 2.0, 0.25, weight, 'none')
    torch.testing.assert_close(loss, naive_sigmoid_loss(logits, target, 2.0, 0.25, weight))


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('reduction', ['none', 'mean'])
def test_sigmoid_gradient(gamma, weighted, reduction):
    logits, target = some_logits(12)
    target[3] = -1  # background as well
    weight = torch.linspace(0.5, 2, 5).double() if weighted else None
    layer = ops.SigmoidFocalLoss(gamma, 0.25, weight, reduction)
    assert gradcheck(lambda x: layer(x, target), logits.requires_grad_())


def test_sigmoid_is_exact_far_out():
    """softplus(x) is x for a confident mistake, its slope 1, and nothing overflows."""
    logits = torch.tensor([[30.0, -30.0], [200.0, -200.0]], requires_grad=True)
    loss = ops.sigmoid_focal_loss(logits, torch.tensor([1, 1]), 2.0, 0.25, None, 'none')
    expected = torch.tensor([[0.75 * 30, 0.25 * 30], [0.75 * 200, 0.25 * 200]])
    torch.testing.assert_close(loss, expected)
    loss.sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[0.75, -0.25]] * 2))


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_sigmoid_in_half_precision_and_strided(dtype, device):
    logits, target = some_logits()
    logits = logits.to(dtype)
    leaf = logits.to(device).t().contiguous().t().requires_grad_()
    with torch.autocast(device, dtype):
        loss = ops.sigmoid_focal_loss(leaf, target.to(device), 2.0, 0.25, None, 'none')
    exact = logits.double().requires_grad_()
    expected = naive_sigmoid_loss(exact, target, 2.0, 0.25)
    torch.testing.assert_close(loss.double().cpu(), expected, rtol=8e-3, atol=1e-6)
    loss.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(leaf.grad.double().cpu(), exact.grad, rtol=8e-3, atol=1e-6)


def test_no_rows():
    logits, target = torch.zeros(0, 5, requires_grad=True), torch.zeros(0, dtype=torch.long)
    for loss in (ops.sigmoid_focal_loss, ops.softmax_focal_loss):
        loss(logits, target, 2.0, 0.25, None, 'sum').backward()
        assert logits.grad.shape == (0, 5)


@pytest.mark.parametrize('device', DEVICES)
def test_softmax_equals_formula(device):
    logits, target = some_logits()
    target = target % 5
    target[4] = -1  # ignored
    weight = torch.tensor([0.5, 2.0, 1.0, 3.0, 1.5], dtype=torch.float64)
    p = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    p = p[torch.arange(30), target]
    expected = -0.25 * (1 - p) ** 2 * p.log() * weight[target] * (target >= 0)
    loss = ops.softmax_focal_loss(
        logits.to(device), target.to(device), 2.0, 0.25, weight.to(device), 'none'
    )
    torch.testing.assert_close(loss.cpu(), expected)


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
def test_softmax_gradient(gamma):
    logits, target = some_logits(12, scale=1.0)
    target = target % 5
    target[3] = -1
    layer = ops.SoftmaxFocalLoss(gamma, 0.25, torch.linspace(0.5, 2, 5).double(), 'sum')
    assert gradcheck(lambda x: layer(x, target), logits.requires_grad_())


def test_softmax_of_a_certain_class_has_no_gradient():
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    ops.softmax_focal_loss(logits, torch.tensor([0]), 0.5, 0.25, None, 'sum').backward()
    assert torch.equal(logits.grad, torch.zeros(1, 2))
