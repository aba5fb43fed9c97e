"""Attention kernels without a stored matrix, and the same numbers on CUDA as on the CPU."""

import pytest
import torch
from families import FIRST, build_small, randomised
from torch.nn.attention import SDPBackend, sdpa_kernel

families = pytest.mark.parametrize(('name', 'kind'), FIRST, ids=lambda value: value)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs CUDA')
devices = pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=needs_cuda)])
LEAN = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]


def step(model, images, dtype):
    """Return the outputs, and all gradients as one vector, in float64 on the CPU."""
    model.zero_grad()
    with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
        maps = model(images)
    sum(m.float().square().mean() for m in maps).backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    return [t.detach().double().cpu() for t in (*maps, gradient)]


@devices
@families
def test_attention_stores_no_matrix(name, kind, device):
    model = build_small(name, kind).to(device)
    dtype = torch.bfloat16 if device == 'cuda' else torch.float32
    with sdpa_kernel(LEAN):  # an error where none of these can be chosen
        step(model, torch.randn(2, 3, 64, 96, device=device), dtype)


@pytest.mark.gpu
@needs_cuda
@families
@pytest.mark.parametrize(
    ('dtype', 'tolerance'),
    [(torch.float32, 1e-3), (torch.float16, 0.05), (torch.bfloat16, 0.1)],
    ids=str,
)
def test_cuda_equals_the_cpu(name, kind, dtype, tolerance):
    model = randomised(build_small(name, kind)).eval().float()
    images = torch.randn(2, 3, 96, 130)
    expected = step(model, images, torch.float32)
    found = step(model.cuda(), images.cuda(), dtype)
    for a, b in zip(found, expected, strict=True):
        assert (a - b).norm() < tolerance * b.norm()
