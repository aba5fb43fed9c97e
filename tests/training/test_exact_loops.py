"""The loaders and seeds of the exact loops, without a training."""

import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import BatchSampler, DataLoader

from glmix_mm.errors import UserError
from glmix_mm.training.exact_loops import SeededLoader, reseed

LENGTH, BATCH = 10, 4


def draws():
    return random.random(), np.random.rand(), torch.rand(()).item()


class Numbers:
    """A data set of random numbers: index, and a draw of each generator."""

    metainfo = ('a',)

    def __init__(self, length=LENGTH):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return index, *draws()


def make_loader(sampler=DefaultSampler, endless=False, workers=0, length=LENGTH, drop_last=False):
    dataset = Numbers(length)
    order = sampler(dataset, shuffle=True, seed=0)
    loader = DataLoader(
        dataset,
        batch_sampler=BatchSampler(order, BATCH, drop_last),
        num_workers=workers,
        collate_fn=list,
    )
    return SeededLoader(loader, endless, seed=7)


def take(loader, count):
    return [batch for _, batch in zip(range(count), loader, strict=False)]


def test_a_seed_is_of_all_its_numbers():
    seen = set()
    for key in [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (0, 1, 1, 0)]:
        reseed(*key)
        first = draws()
        reseed(*key)
        assert draws() == first
        seen.update(first)
    assert len(seen) == 18


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('done', [0, 1, 5])
@pytest.mark.parametrize('sampler', [InfiniteSampler, DefaultSampler])
def test_what_was_trained_on_is_left_out(sampler, done, workers):
    whole = take(make_loader(sampler, endless=True), 8)
    loader = make_loader(sampler, endless=True, workers=workers)
    loader.batch_sampler.start(done, skipped=done)
    assert take(loader, 8 - done) == whole[done:]
    # Every image of a round once, in another order in the next one.
    indices = [index for batch in whole for index, *_ in batch]
    assert sorted(indices[:LENGTH]) == sorted(indices[LENGTH : 2 * LENGTH]) == list(range(LENGTH))
    assert indices[:LENGTH] != indices[LENGTH : 2 * LENGTH]
    assert len({number for batch in whole for _, *three in batch for number in three}) == 3 * sum(
        map(len, whole)
    )


def test_an_epoch_ends_and_its_length_is_known():
    loader = make_loader()
    whole = list(loader)
    assert [len(batch) for batch in whole] == [4, 4, 2]
    assert len(loader) == 3
    loader.batch_sampler.start(0, skipped=0)
    assert list(loader) == whole
    loader.batch_sampler.start(1, skipped=1)
    assert list(loader) == whole[1:]
    loader.batch_sampler.start(3, skipped=3)
    assert list(loader) == []
    loader.batch_sampler.start(3, skipped=0)
    assert [batch[0] for batch in loader] != [batch[0] for batch in whole]  # drawn anew


def test_it_passes_for_what_it_wraps():
    loader = make_loader()
    assert loader.batch_sampler.batch_size == BATCH
    loader.batch_sampler.sampler.set_epoch(3)
    assert loader.batch_sampler.batches.sampler.epoch == 3
    assert loader.dataset.metainfo == Numbers.metainfo
    loader.dataset.pipeline = 'new'
    assert loader.dataset._dataset.pipeline == 'new'
    with pytest.raises(AttributeError, match='nothing'):
        _ = loader.dataset.nothing
    sent = pickle.loads(pickle.dumps(loader.dataset))  # as to a worker that is not forked
    assert sent[5, 1, 2] == loader.dataset[5, 1, 2]
    assert sent.pipeline == 'new'


@pytest.mark.parametrize('endless', [False, True])
def test_too_few_images_for_a_batch_end_the_run(endless):
    with pytest.raises(UserError, match='fewer images'):
        take(make_loader(endless=endless, length=3, drop_last=True), 1)
