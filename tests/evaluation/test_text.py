"""Metrics of generated text, against brute force and sacrebleu."""

import math
import random
from collections import Counter

import pytest
import sacrebleu

from textvae.evaluation.text import (
    bleu,
    distinct,
    is_chinese,
    nearest_lines,
    ngrams,
    self_bleu,
    split_units,
    token_accuracy,
)

WORDS = ["the", "a", "cat", "dog", "sees", "runs", "old", "red"]


def sentences(count, low, high, seed=0):
    """Random sentences of few words, so that n-grams repeat within a sentence and between them."""
    rng = random.Random(seed)
    return [" ".join(rng.choice(WORDS) for _ in range(rng.randint(low, high))) for _ in range(count)]


def windows(units, n):
    return [tuple(units[start : start + n]) for start in range(len(units) - n + 1)]


@pytest.mark.parametrize(
    ("texts", "chinese"),
    [
        (["床前明月光"], True),
        (["月 moon 光光"], False),
        (["12 月光, 34!"], True),
        (["the moon"], False),
        (["", "..."], False),
        ([], False),
    ],
)
def test_is_chinese(texts, chinese):
    assert is_chinese(texts) is chinese


def test_units():
    assert split_units("the  old\ncat ", False) == ["the", "old", "cat"]
    assert split_units("床前 明\n月", True) == ["床", "前", "明", "月"]


@pytest.mark.parametrize("length", range(6))
@pytest.mark.parametrize("n", [1, 2, 4])
def test_ngrams(length, n):
    units = WORDS[:length]
    assert ngrams(units, n) == windows(units, n)


def test_bleu_by_hand():
    """Corpus BLEU: clipped matches and totals are summed over sentences, then divided."""
    hypotheses, references = sentences(30, 5, 9, seed=1), sentences(30, 6, 9, seed=2)
    references[:15] = hypotheses[:15]
    logs = []
    for n in range(1, 5):
        matched = total = 0
        for hypothesis, reference in zip(hypotheses, references, strict=True):
            have, want = (Counter(windows(text.split(), n)) for text in (hypothesis, reference))
            matched += sum((have & want).values())
            total += sum(have.values())
        logs.append(math.log(matched / total))
    long, short = (sum(len(text.split()) for text in texts) for texts in (references, hypotheses))
    expected = 100 * math.exp(sum(logs) / 4) * min(1, math.exp(1 - long / short))
    score, signature = bleu(hypotheses, references, "none")
    assert score == pytest.approx(expected)
    assert 10 < score < 90
    assert signature == f"nrefs:1|case:mixed|eff:no|tok:none|smooth:exp|version:{sacrebleu.__version__}"


@pytest.mark.parametrize("tokenize", ["none", "13a", "zh"])
def test_bleu_of_equal_texts(tokenize):
    texts = ["the cat sees the old dog .", "床前明月光，疑是地上霜。"]
    score, signature = bleu(texts, texts, tokenize)
    assert score == pytest.approx(100)
    assert f"tok:{tokenize}|" in signature


def test_bleu_depends_on_the_tokenizer():
    """Words that are joined to punctuation, and characters that are joined to each other."""
    assert bleu(["a b c d e."], ["a b c d e"], "13a")[0] > bleu(["a b c d e."], ["a b c d e"], "none")[0] + 5
    assert bleu(["床前明月光"], ["床前明月亮"], "zh")[0] > 50
    assert bleu(["床前明月光"], ["床前明月亮"], "none")[0] == 0


def brute_self_bleu(texts, order):
    units = [text.split() for text in texts]
    logs = []
    for n in range(1, order + 1):
        matched = total = 0
        for row, mine in enumerate(units):
            others = [Counter(windows(other, n)) for place, other in enumerate(units) if place != row]
            for gram, count in Counter(windows(mine, n)).items():
                matched += min(count, max(other[gram] for other in others))
                total += count
        if not matched:
            return 0.0
        logs.append(math.log(matched / total))
    return 100 * math.exp(sum(logs) / order)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("order", [1, 2, 4])
def test_self_bleu_equals_brute_force(seed, order):
    texts = sentences(25, 1, 9, seed)
    assert self_bleu(texts, False, order) == pytest.approx(brute_self_bleu(texts, order))


@pytest.mark.parametrize("seed", range(3))
def test_self_bleu_equals_sacrebleu(seed):
    """Where all texts are of one length, so that no brevity penalty comes in."""
    texts = sentences(20, 7, 7, seed)
    references = [[texts[(row + shift) % 20] for row in range(20)] for shift in range(1, 20)]
    expected = sacrebleu.corpus_bleu(texts, references, smooth_method="none", tokenize="none", force=True).score
    assert self_bleu(texts, False) == pytest.approx(expected)


def test_self_bleu_at_its_ends():
    assert self_bleu(["the cat sees the dog"] * 3, False) == pytest.approx(100)
    assert self_bleu(["a b c d e", "f g h i j"], False) == 0
    assert self_bleu(["the cat"] * 3, False) == 0  # no n-gram of four words at all
    assert self_bleu(["床前明月光"] * 2, True) == pytest.approx(100)
    assert self_bleu(["床前明月光"] * 2, False) == 0  # one word between spaces


@pytest.mark.parametrize("n", [1, 2])
def test_distinct_equals_brute_force(n):
    texts = sentences(40, 1, 9, seed=3)
    every = [gram for text in texts for gram in windows(text.split(), n)]
    assert distinct(texts, False, n) == len(set(every)) / len(every)


def test_distinct_at_its_ends():
    assert distinct(["a b c", "d e"], False, 1) == 1
    assert distinct(["a a", "a a"], False, 1) == 0.25
    assert distinct(["", ""], False, 1) == 0
    assert distinct(["月月", "月光"], True, 1) == 0.5


@pytest.mark.parametrize(
    ("references", "hypotheses", "share"),
    [
        ([[5, 6, 2]], [[5, 6, 2]], 1),
        ([[5, 6, 2]], [[5, 7, 2]], 2 / 3),
        ([[5, 6, 2]], [[6, 2]], 0),
        ([[5, 6, 7, 2]], [[5, 6, 2]], 1 / 2),
        ([[5, 2]], [[5, 2, 0, 0]], 1),
        ([[5, 2], [6, 7, 8, 2]], [[], [6, 7, 8, 2]], 4 / 6),
    ],
)
def test_token_accuracy(references, hypotheses, share):
    assert token_accuracy(references, hypotheses) == pytest.approx(share)


def test_nearest_lines_equal_brute_force():
    texts, corpus = sentences(10, 3, 8, seed=4), sentences(60, 3, 8, seed=5)
    found = nearest_lines(texts, [corpus[:25], corpus[25:]], False)
    for text, (overlap, line) in zip(texts, found, strict=True):
        shares = [len({*text.split()} & {*other.split()}) / len({*text.split()} | {*other.split()}) for other in corpus]
        assert overlap == max(shares)
        assert line == corpus[shares.index(max(shares))]


def test_nearest_lines_without_any_word_in_common():
    assert nearest_lines(["zebra", "the cat"], [["a dog", "the cat"]], False) == [(0.0, ""), (1.0, "the cat")]
    assert nearest_lines(["明月"], [["月亮明", "光"]], True) == [(2 / 3, "月亮明")]
