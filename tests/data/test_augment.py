"""Texts spliced and words replaced: shares by simulation, splices by search among all that could be."""

import numpy as np
import pytest
import torch

from textvae.data.augment import NEAR, AugmentedRows
from textvae.data.collator import Collator
from textvae.data.config import AugmentConfig, NoiseConfig
from textvae.data.encoding import encode_texts
from textvae.data.noise import Noise
from textvae.data.sampler import LengthGroupedSampler
from textvae.tokenization import TokenizerConfig, make_tokenizer

LETTERS = "abcdefghijklmnopqrst"


@pytest.fixture(scope="module")
def tokenizer():
    """Its words are letters."""
    return make_tokenizer(TokenizerConfig(kind="word"), [" ".join(LETTERS)])


@pytest.fixture(scope="module")
def corpus():
    """Texts of up to 20 letters."""
    random = np.random.default_rng(0)
    return [" ".join(random.choice(list(LETTERS), n)) for n in random.integers(0, 21, 300)]


@pytest.fixture
def make(tokenizer):
    def rows(texts, seed=0, **config):
        return AugmentedRows(encode_texts(texts, tokenizer), AugmentConfig(**config), tokenizer, seed)

    return rows


def words(row):
    return row["ids"][1:-1]


def near(share, expected, trials):
    """Within four standard errors."""
    return abs(share - expected) < 4 * (expected * (1 - expected) / trials) ** 0.5


def splices(first, other):
    """Whatever two texts may give, cut at one share of both."""
    cuts = {(round_half_up(s * len(first)), round_half_up(s * len(other))) for s in np.linspace(0, 1, 2001)[:-1]}
    return {(*first[:a], *other[b:]) for a, b in cuts}


def round_half_up(x):
    return int(np.floor(x + 0.5))


def test_a_splice_is_the_beginning_of_one_and_the_end_of_another_of_like_length(make, corpus):
    rows = make(corpus, splice=1.0)
    plain = [words(row) for row in rows.rows]
    order = sorted(range(len(plain)), key=lambda row: len(plain[row]))
    reach = max(1, int(NEAR * len(corpus)))
    new = 0
    for number in range(3 * len(corpus)):
        row = number % len(corpus)
        got, place = tuple(words(rows[number])), order.index(row)
        others = [plain[other] for other in order[max(0, place - reach) : place + 1]]
        assert any(got in splices(plain[row], other) for other in others)
        assert min(map(len, others)) <= len(got) <= len(plain[row])
        new += list(got) not in plain
    assert new > 2 * len(corpus)


def test_all_splices_of_two_texts_come(make):
    rows = make(["a b c d", "e f g"], splice=1.0)
    first, other = (words(row) for row in rows.rows)
    drawn = {tuple(words(rows[2 * epoch])) for epoch in range(1000)}
    assert drawn == splices(first, other) | {tuple(first)}


def test_how_often(make):
    """Two texts without a word in common. The second has the first and itself to be spliced with."""
    rows, n = make(["a b c d e f g h i j", "k l m n o p q r s t"], splice=0.6), 4000
    first = set(words(rows.rows[0]))
    drawn = [words(rows[2 * epoch + 1]) for epoch in range(n)]
    assert all(words(rows[2 * epoch]) == words(rows.rows[0]) for epoch in range(100))  # none is shorter
    # A cut in the last twentieth of the text leaves nothing of the other.
    assert near(np.mean([bool(first & set(text)) for text in drawn]), 0.6 / 2 * 0.95, n)
    taken = [sum(word in first for word in text) for text in drawn]
    counts = np.bincount(taken, minlength=11)[1:]
    assert near(counts[9] / counts.sum(), 0.5 / 9.5, counts.sum())  # all ten: a share below 0.05
    assert all(near(count / counts.sum(), 1 / 9.5, counts.sum()) for count in counts[:9])


def test_replaced_words(make, tokenizer):
    """A word is replaced by itself as often as by any other; special tokens never come in."""
    vocabulary = sorted(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids))
    rows, p, n = make([" ".join(tokenizer.convert_ids_to_tokens(vocabulary))], replace=0.4), 0.4, 3000
    assert words(rows.rows[0]) == vocabulary
    drawn = np.array([rows[number]["ids"] for number in range(n)])
    assert (drawn[:, [0, -1]] == [tokenizer.bos_token_id, tokenizer.eos_token_id]).all()
    drawn = drawn[:, 1:-1]
    assert near((drawn != vocabulary).mean(), p * (1 - 1 / len(vocabulary)), drawn.size)
    counts = np.bincount(drawn.ravel(), minlength=max(vocabulary) + 1)[vocabulary]
    assert counts.sum() == drawn.size
    assert abs(counts / counts.mean() - 1).max() < 0.15


def test_nothing_asked_for_nothing_changed(make, corpus):
    rows = make(corpus[:9])
    assert [rows[number]["ids"] for number in range(18)] == 2 * rows.rows["ids"][:]


@pytest.mark.parametrize("given", [[""], ["", "a b"], ["a"]])
def test_texts_of_no_or_one_word(make, given):
    rows = make(given, splice=1.0, replace=0.5)
    for number in range(50):
        ids = rows[number]["ids"]
        assert (ids[0], ids[-1]) == (rows.rows[0]["ids"][0], rows.rows[0]["ids"][-1])
        assert len(ids) - 2 <= max(len(text.split()) for text in given)


def test_it_depends_on_seed_epoch_and_row_alone(make, corpus):
    texts = corpus[:30]

    def epoch(number, seed=0, size=7, workers=0):
        rows = make(texts, seed, splice=0.5, replace=0.2)
        sampler = LengthGroupedSampler(rows.rows["length"][:], size, seed=5, numbered=True)
        sampler.set_epoch(number)
        loader = torch.utils.data.DataLoader(rows, size, sampler=sampler, collate_fn=list, num_workers=workers)
        return {row["draw"] % len(texts): row["ids"] for batch in loader for row in batch}

    first = epoch(0)
    assert sorted(first) == list(range(30))
    assert first == epoch(0, size=4) == epoch(0, workers=2)
    for other in (epoch(1), epoch(0, seed=1)):
        assert sum(first[row] != other[row] for row in first) > 20


def test_noise_comes_on_top_of_it(make, tokenizer, corpus):
    """The decoder has to give back the text that was made, and the encoder reads a noisy copy of it."""
    rows = make(corpus[:20], splice=1.0, replace=0.2)
    batch = Collator(0, noise=Noise(NoiseConfig(drop=0.4), tokenizer, 0))(rows.__getitems__(list(range(20))))
    made = [rows[number]["ids"] for number in range(20)]
    for number, (ids, mask) in enumerate(zip(batch["input_ids"], batch["attention_mask"], strict=True)):
        assert ids[mask.bool()].tolist() == made[number]
    shorter = batch["encoder_attention_mask"].sum() / batch["attention_mask"].sum()
    assert 0.5 < shorter < 0.8
    for ids, mask, whole in zip(batch["encoder_input_ids"], batch["encoder_attention_mask"], made, strict=True):
        rest = iter(whole)
        assert all(word in rest for word in ids[mask.bool()].tolist())  # in order, nothing that is not in the text
