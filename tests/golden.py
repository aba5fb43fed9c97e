"""Golden numbers of the official implementations, and checkpoints that give them.

``golden_numbers/NAME.keys.json`` holds every key of the official checkpoint and its shape; `fill`
puts a known number at each place. ``golden_numbers/NAME.json`` holds what the official
implementation computes from that checkpoint in float64: mean, standard deviation and 96 entries of
each map.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent / 'golden_numbers'


def fill(key, shape):
    """Return the float64 array at ``key``; it depends on the key and the shape only."""
    shape = tuple(shape)
    z = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
    leaf = key.rsplit('.', 1)[-1]
    if leaf == 'num_batches_tracked':
        return np.zeros(shape)
    if leaf == 'running_var':
        return 1 + 0.25 * np.abs(z)
    if leaf in ('running_mean', 'rescale_bias'):
        return 0.1 * z
    if leaf == 'slot_scale':
        return 4 + 0.5 * z
    if leaf == 'gamma' or leaf.startswith('layer_scale'):
        return 0.5 + 0.1 * z
    if leaf == 'rescale_weight':
        return 1 + 0.1 * z
    if len(shape) <= 1:
        return 0.1 * z if leaf.endswith('bias') else 1 + 0.1 * z
    gain = 0.2 if 'pos_' in key else 1.0
    return gain * z / np.sqrt(np.prod(shape[1:]))


def official_keys(name):
    """Return {key: shape} of the official checkpoint of a variant."""
    return json.loads((FOLDER / f'{name}.keys.json').read_text())


def official_state(name):
    """Return the official checkpoint's state dict, filled, in float64."""
    return {key: torch.as_tensor(fill(key, shape)) for key, shape in official_keys(name).items()}


def expected(name):
    """Return the golden numbers of a variant, one entry for each input size."""
    return json.loads((FOLDER / f'{name}.json').read_text())


def image(n, h, w, seed=20241122):
    """Return the input batch (n, 3, h, w), float64, already normalised."""
    return torch.as_tensor(np.random.RandomState(seed).standard_normal((n, 3, h, w)))


def sample(x, k=96):
    """Return the k entries of a map that the golden numbers list."""
    flat = x.detach().double().contiguous().reshape(-1).numpy()
    return flat[np.random.RandomState(7).randint(0, flat.size, k)]


def assert_close(found, golden, tolerance):
    """Compare a map with its golden numbers; ``tolerance`` in standard deviations."""
    assert list(found.shape) == golden['shape']
    std = golden['std']
    double = found.detach().double()
    assert abs(double.mean().item() - golden['mean']) < tolerance * std
    assert abs(double.std(unbiased=False).item() - std) < tolerance * std
    # The entries are stored with nine digits.
    rounding = 5e-9 * np.maximum(1, np.abs(golden['sample']))
    error = np.abs(sample(found) - np.array(golden['sample']))
    assert (error < tolerance * std + rounding).all(), error.max() / std
