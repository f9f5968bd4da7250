"""Batches of like length in an order that repeats."""

import itertools

import numpy as np
import pytest
import torch

from textvae.data.sampler import WINDOW, LengthGroupedSampler, TokenBatches


def batches(sampler, size):
    order = list(sampler)
    return [order[start : start + size] for start in range(0, len(order), size)]


@pytest.mark.parametrize("count", [0, 1, 3, 8, 9, 1000, 8 * WINDOW, 8 * WINDOW + 1, 20 * WINDOW + 5])
def test_every_sentence_once_and_the_incomplete_batch_last(count):
    lengths = np.random.default_rng(0).integers(1, 40, count)
    sampler = LengthGroupedSampler(lengths, 8, 0)
    assert len(sampler) == count
    assert sorted(sampler) == list(range(count))
    assert [len(batch) for batch in batches(sampler, 8)] == [8] * (count // 8) + [count % 8] * bool(count % 8)


def test_order_depends_on_seed_and_epoch_alone():
    lengths = list(range(1, 31)) * 10
    first = list(LengthGroupedSampler(lengths, 4, 0))
    torch.manual_seed(5)
    np.random.seed(5)
    sampler = LengthGroupedSampler(lengths, 4, 0)
    assert list(sampler) == first
    assert list(sampler) == first
    assert list(LengthGroupedSampler(lengths, 4, 1)) != first
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first
    resumed = LengthGroupedSampler(lengths, 4, 0)
    resumed.set_epoch(1)
    assert list(resumed) == second


def test_no_generator_is_consumed():
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(LengthGroupedSampler([3, 1, 2] * 100, 4, 0))
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()


def test_lengths_of_a_batch_are_alike_and_batches_come_in_random_order():
    lengths = np.random.default_rng(1).integers(1, 60, 6400)
    groups = batches(LengthGroupedSampler(lengths, 64, 0), 64)
    spread = np.mean([np.ptp(lengths[group]) for group in groups])
    # A window is all there is here: a hundred batches share 59 lengths.
    assert spread <= 2
    means = np.array([lengths[group].mean() for group in groups])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.3


def test_equal_lengths_are_shuffled():
    order = list(LengthGroupedSampler([7] * 1000, 10, 0))
    neighbours = sum(abs(a - b) == 1 for a, b in itertools.pairwise(order))
    assert neighbours < 20


def test_a_window_is_a_random_part_of_the_corpus():
    """Sentences that are neighbours in the file do not meet in every epoch."""
    lengths = [5] * 50_000
    sampler = LengthGroupedSampler(lengths, 10, 0)
    group = next(set(batch) for batch in batches(sampler, 10))
    assert max(group) - min(group) > 10_000


def test_the_trainer_gets_a_new_order_for_each_epoch():
    """accelerate's loader passes the epoch on."""
    from accelerate import Accelerator

    sampler = LengthGroupedSampler(list(range(1, 101)), 4, 0)
    loader = torch.utils.data.DataLoader(list(range(100)), batch_size=4, sampler=sampler)
    prepared = Accelerator(cpu=True).prepare(loader)
    orders = []
    for epoch in range(2):
        prepared.set_epoch(epoch)
        orders.append(torch.cat(list(prepared)).tolist())
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(100))


def test_batches_that_are_not_by_length_are_random_draws():
    """What is computed of a batch is that of the corpus in expectation; of sorted batches it is not."""
    lengths = np.random.default_rng(1).integers(1, 60, 6400)
    variances = {
        by_length: np.mean([lengths[group].var(ddof=1) for group in batches(sampler, 64)])
        for by_length in (True, False)
        for sampler in [LengthGroupedSampler(lengths, 64, 0, by_length=by_length)]
    }
    assert variances[False] == pytest.approx(lengths.var(), rel=0.03)
    assert variances[True] < 0.01 * lengths.var()


@pytest.mark.parametrize("by_length", [True, False])
@pytest.mark.parametrize("count", [1, 7, 1000, 30 * WINDOW + 3])
@pytest.mark.parametrize("tokens", [10, 64, 500])
def test_batches_by_tokens_hold_every_sentence_once_and_no_more_than_the_budget(count, tokens, by_length):
    lengths = np.random.default_rng(0).integers(1, 40, count)
    sampler = TokenBatches(lengths, tokens, 0, by_length=by_length)
    found = list(sampler)
    assert len(found) == len(sampler)
    assert sorted(itertools.chain.from_iterable(found)) == list(range(count))
    for batch in found:
        assert len(batch) == 1 or lengths[batch].max() * len(batch) <= tokens


def test_batches_by_tokens_are_full():
    lengths = np.random.default_rng(0).integers(1, 40, 20_000)
    found = list(TokenBatches(lengths, 1000, 0))
    assert np.mean([lengths[batch].max() * len(batch) for batch in found]) > 930
    sizes = {int(lengths[batch].max()): len(batch) for batch in found}
    assert sizes[min(sizes)] > 5 * sizes[max(sizes)] > 0


def test_batches_by_tokens_depend_on_seed_and_epoch_alone():
    lengths = np.random.default_rng(0).integers(1, 40, 500)
    sampler = TokenBatches(lengths, 100, 0)
    first = list(sampler)
    assert list(TokenBatches(lengths, 100, 0)) == first != list(TokenBatches(lengths, 100, 1))
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first
    numbered = TokenBatches(lengths, 100, 0, numbered=True)
    numbered.set_epoch(1)
    assert list(numbered) == [[row + 500 for row in batch] for batch in second]


def test_epochs_of_batches_by_tokens_have_one_length_and_lose_nothing():
    """Passes over the corpus differ in length; one begins where in an epoch the one before it has ended."""
    lengths = np.random.default_rng(0).integers(1, 40, 5000)
    sampler = TokenBatches(lengths, 100, 0, numbered=True)
    rows, batches_of_pass = [], set()
    for epoch in range(6):
        sampler.set_epoch(epoch)
        epoch_of_it = list(sampler)
        assert len(epoch_of_it) == len(sampler)
        rows += itertools.chain.from_iterable(epoch_of_it)
        batches_of_pass.add(len(sampler._plan(epoch)[1]))
        alone = TokenBatches(lengths, 100, 0, numbered=True)  # as in a process that goes on here
        alone.set_epoch(epoch)
        assert list(alone) == epoch_of_it
    assert len(batches_of_pass) > 1
    whole = [row for row in rows if row < 5 * len(lengths)]
    assert sorted(whole) == list(range(5 * len(lengths)))


def test_the_rest_of_an_epoch_is_a_random_one():
    """Sorted along it would be the longest texts each time, which would then weigh more."""
    lengths, sampler = np.arange(1, 73), LengthGroupedSampler(np.arange(1, 73), 64, 0)
    means = []
    for epoch in range(300):
        sampler.set_epoch(epoch)
        means.append(lengths[list(sampler)[64:]].mean())
    # Of 8 out of 72: a standard deviation of 7 an epoch.
    assert np.mean(means) == pytest.approx(36.5, abs=4 * 7 / 300**0.5)
