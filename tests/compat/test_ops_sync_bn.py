"""mmcv's synchronized batch norm against torch's batch norm over all processes' values."""

import pytest
import torch
from served_ops import ops, use_served_ops
from torch import distributed, nn

PROCESSES = 2


def run(norm, values, weight, bias, gradient):
    """Return the output, the gradients of input, weight and bias, and the running statistics."""
    norm.weight.data.copy_(weight)
    norm.bias.data.copy_(bias)
    leaf = values.clone().requires_grad_()
    output = norm(leaf)
    output.backward(gradient)
    statistics = [norm.running_mean, norm.running_var]
    return [output.detach(), leaf.grad, norm.weight.grad, norm.bias.grad, *statistics]


def some_input():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4, 3, 4, 5, generator=generator) * 2 + 1
    weight, bias = torch.rand(2, 3, generator=generator)
    return values, weight, bias, torch.randn(values.shape, generator=generator)


@pytest.mark.parametrize('stats_mode', ['default', 'N'])
def test_one_process(stats_mode, monkeypatch, tmp_path):
    use_served_ops(monkeypatch)
    store = distributed.FileStore(str(tmp_path / 'store'), 1)
    distributed.init_process_group('gloo', store=store, rank=0, world_size=1)
    try:
        tensors = some_input()
        results = run(ops.SyncBatchNorm(3, stats_mode=stats_mode), *tensors)
    finally:
        distributed.destroy_process_group()
    expected = run(nn.BatchNorm2d(3), *tensors)
    torch.testing.assert_close(results, expected, rtol=1e-5, atol=1e-5)


def work(rank, folder, stats_mode):
    store = distributed.FileStore(f'{folder}/store', PROCESSES)
    distributed.init_process_group('gloo', store=store, rank=rank, world_size=PROCESSES)
    values, weight, bias, gradient = some_input()
    half = slice(2 * rank, 2 * rank + 2)
    norm = ops.SyncBatchNorm(3, stats_mode=stats_mode)
    results = run(norm, values[half], weight, bias, gradient[half])
    torch.save(results, f'{folder}/{rank}.pth')
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize('stats_mode', ['default', 'N'])
def test_two_processes_share_their_statistics(stats_mode, tmp_path):
    torch.multiprocessing.spawn(work, (str(tmp_path), stats_mode), nprocs=PROCESSES)
    first, second = (torch.load(tmp_path / f'{rank}.pth') for rank in range(PROCESSES))
    expected = run(nn.BatchNorm2d(3), *some_input())
    joined = [torch.cat(pair) for pair in list(zip(first, second, strict=True))[:2]]
    # mmcv averages the parameters' gradients over processes, as data parallel training does.
    joined += [first[2] * PROCESSES, first[3] * PROCESSES, *first[4:]]
    torch.testing.assert_close(joined, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(first[2:], second[2:])
