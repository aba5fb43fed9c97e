"""Peak memory against allocations of known size."""

import pytest
import torch

from glmix_mm.profiling.memory import peak_bytes

MIB = 2**20
DEVICES = ['cpu', *(['cuda'] if torch.cuda.is_available() else [])]


def hold(mebibytes, device):
    return torch.zeros(mebibytes * MIB, dtype=torch.uint8, device=device)


@pytest.mark.parametrize('device', DEVICES)
def test_the_peak_is_not_the_sum(device):
    def function():
        first = hold(4, device)
        second = hold(2, device)
        del first
        third = hold(1, device)
        return second, third

    assert peak_bytes(function, device) == 6 * MIB


@pytest.mark.parametrize('device', DEVICES)
def test_what_was_held_before_does_not_count(device):
    before = hold(32, device)
    assert peak_bytes(lambda: hold(4, device), device) == 4 * MIB
    assert before.numel() == 32 * MIB


@pytest.mark.parametrize(('device', 'peak'), [('cpu', 6), ('cuda', 0)])
def test_memory_held_before_and_freed_in_the_call(device, peak):
    if device not in DEVICES:
        pytest.skip('torch finds no CUDA device')
    before = [hold(8, device)]

    def function():
        before.clear()
        return hold(6, device)

    assert peak_bytes(function, device) == peak * MIB


def test_a_function_without_allocations():
    assert peak_bytes(lambda: None) == 0


def test_backward_pass():
    """y = x * x * x keeps the inner product, and ends with the product's gradient beside it."""
    x = torch.ones(MIB // 4, requires_grad=True)  # 1 MiB
    peak = peak_bytes(lambda: (x * x).exp().sum().backward())
    # Kept: exp's output; then its gradient's product, and x's gradients of both factors and a sum.
    assert 3 * MIB <= peak <= 5 * MIB + 1024
