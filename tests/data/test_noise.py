"""Noise on the encoder's input: rates by simulation, places by counting."""

import copy

import numpy as np
import pytest
import torch

from textvae.data.collator import Collator
from textvae.data.config import NoiseConfig
from textvae.data.encoding import encode_texts
from textvae.data.noise import Noise, NumberedRows
from textvae.data.sampler import LengthGroupedSampler

N = 4000


def make(tokenizer, seed=0, **config):
    return Noise(NoiseConfig(**config), tokenizer, seed)


@pytest.fixture
def ids(tokenizer, texts):
    """A text of all words of the vocabulary."""
    words = sorted(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids))
    return [tokenizer.bos_token_id, *words, tokenizer.eos_token_id]


def near(share, expected, trials):
    """Within four standard errors."""
    return abs(share - expected) < 4 * (expected * (1 - expected) / trials) ** 0.5


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_drop(tokenizer, ids, p):
    noise, trials = make(tokenizer, drop=p), N * (len(ids) - 2)
    copies = [noise(ids, draw) for draw in range(N)]
    assert near(1 - sum(len(copy) - 2 for copy in copies) / trials, p, trials)
    assert all(copy == [i for i in ids if i in set(copy)] for copy in copies)  # bos, eos and the order stay


@pytest.mark.parametrize("p", [0.1, 1.0])
def test_blank(tokenizer, ids, p):
    noise, trials = make(tokenizer, blank=p), N * (len(ids) - 2)
    copies = np.array([noise(ids, draw) for draw in range(N)])
    blank = copies == tokenizer.mask_token_id
    assert not blank[:, [0, -1]].any()
    assert blank.sum() == trials if p == 1 else near(blank.sum() / trials, p, trials)
    assert (copies == np.where(blank, copies, ids)).all()


def test_swap(tokenizer, ids):
    """A word is swapped for itself as often as for any other; special tokens never come in."""
    words, p = len(ids) - 2, 0.4
    copies = np.array([make(tokenizer, swap=p)(ids, draw) for draw in range(N)])
    assert near((copies[:, 1:-1] != ids[1:-1]).mean(), p * (1 - 1 / words), N * words)
    assert (copies[:, [0, -1]] == [ids[0], ids[-1]]).all()
    assert set(copies[:, 1:-1].ravel()) == set(ids[1:-1])
    counts = np.bincount(copies[:, 1:-1].ravel(), minlength=max(ids) + 1)[ids[1:-1]]
    assert abs(counts / counts.mean() - 1).max() < 0.1


@pytest.mark.parametrize("k", [1, 3])
def test_shuffle(tokenizer, ids, k):
    places = {i: place for place, i in enumerate(ids)}
    noise = make(tokenizer, shuffle=k)
    moved = np.array([[places[i] - place for place, i in enumerate(noise(ids, draw))] for draw in range(N)])
    assert abs(moved).max() == k
    assert (moved != 0).mean() > 0.2
    assert not moved[:, [0, -1]].any()


def test_no_words(tokenizer, ids):
    everything = make(tokenizer, shuffle=2, drop=0.5, blank=0.5, swap=0.5)
    assert everything([ids[0], ids[-1]], 3) == [ids[0], ids[-1]]


def test_ends_that_are_words(tokenizer, ids):
    """The tokenizer of a pretrained encoder may put nothing around a text, or an end alone."""
    words, n = ids[1:-1], 2000
    noise = make(tokenizer, drop=0.5)
    for text, kept in ((words, []), (ids[1:], ids[-1:]), (ids[:-1], ids[:1])):
        copies = [noise(text, draw) for draw in range(n)]
        places = [text.index(word) for word in (words[0], words[-1])]
        for place in places:
            assert near(np.mean([text[place] in copy for copy in copies]), 0.5, n)
        assert all(set(kept) <= set(copy) for copy in copies)
    strong = make(tokenizer, drop=0.9)
    assert {tuple(strong([words[0]], draw)) for draw in range(50)} == {(words[0],)}  # something has to be read
    assert strong([], 0) == []


def test_needs_a_mask_token(tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.mask_token = None
    with pytest.raises(ValueError, match=r"data\.noise\.blank: the tokenizer has no mask token"):
        make(tokenizer, blank=0.1)
    make(tokenizer, drop=0.1)


@pytest.fixture
def batches(tokenizer, texts):
    """The batches of an epoch, by seed, size, epoch and workers; each sentence's encoder ids by its own ids."""
    rows = NumberedRows(encode_texts(texts[:30], tokenizer))

    def draw(epoch, seed=0, size=7, workers=0):
        sampler = LengthGroupedSampler(rows.rows["length"][:], size, seed=5, numbered=True)
        sampler.set_epoch(epoch)
        collate = Collator(0, noise=make(tokenizer, seed, drop=0.2, swap=0.3, shuffle=2))
        loader = torch.utils.data.DataLoader(rows, size, sampler=sampler, collate_fn=collate, num_workers=workers)
        return {
            tuple(ids[mask.bool()].tolist()): encoder_ids[encoder_mask.bool()].tolist()
            for batch in loader
            for encoder_ids, encoder_mask, ids, mask in zip(*batch.values(), strict=True)
        }

    return draw


def test_noise_depends_on_seed_epoch_and_row_alone(batches, texts, tokenizer):
    first = batches(0)
    assert sorted(first) == sorted(map(tuple, encode_texts(texts[:30], tokenizer)["ids"]))  # the decoder's are whole
    assert first == batches(0, size=4) == batches(0, workers=2)
    for other in (batches(1), batches(0, seed=1)):
        assert sum(first[key] != other[key] for key in first) > 20
