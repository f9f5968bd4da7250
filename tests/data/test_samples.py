"""The sample corpora keep the figures that their README promises."""

import json
import re
from collections import Counter, defaultdict
from itertools import combinations

import pytest

from textvae.data.config import DataConfig
from textvae.data.corpus import SAMPLES, load_corpus
from textvae.evaluation.text import is_chinese


def rows(name):
    return [json.loads(line) for line in (SAMPLES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def near_duplicates(texts, threshold):
    """Pairs whose sets of words overlap (Jaccard index) by the threshold or more, found through shared rare words."""
    words = [frozenset(re.findall(r"\w+", text)) for text in texts]
    places = defaultdict(list)
    for row, each in enumerate(words):
        for word in each:
            places[word].append(row)
    candidates = {pair for where in places.values() if len(where) < 60 for pair in combinations(where, 2)}
    return [
        (texts[a], texts[b]) for a, b in candidates if len(words[a] & words[b]) / len(words[a] | words[b]) >= threshold
    ]


@pytest.mark.parametrize(("name", "size"), [("headlines", 4000), ("poems", 1200), ("quatrains", 200)])
def test_size_fields_and_no_duplicates(name, size):
    corpus = rows(name)
    assert len(corpus) == size
    assert all(set(row) == {"text", "label"} and row["text"] == row["text"].strip() for row in corpus)
    assert len({row["text"] for row in corpus}) == size


def test_headlines_have_topics_of_equal_size():
    topics = Counter(row["label"] for row in rows("headlines"))
    assert 6 <= len(topics) <= 8
    assert set(topics.values()) == {500}


def test_headlines_are_short_and_their_vocabulary_small():
    texts = [row["text"] for row in rows("headlines")]
    assert {len(text.split()) for text in texts} <= set(range(5, 12))
    assert len({word for text in texts for word in text.split()}) <= 3500


def test_headlines_held_out_tokens_are_seen_in_training():
    splits = load_corpus(DataConfig(source="sample:headlines")).splits
    seen = {word for text in splits["train"]["text"] for word in text.split()}
    for name in ("validation", "test"):
        held_out = [word for text in splits[name]["text"] for word in text.split()]
        assert sum(word in seen for word in held_out) >= 0.95 * len(held_out)


def test_headlines_have_no_near_duplicates_and_no_favourite_opening():
    texts = [row["text"] for row in rows("headlines")]
    assert near_duplicates(texts, 0.6) == []
    openings = Counter(" ".join(text.split()[:3]) for text in texts)
    assert openings.most_common(1)[0][1] <= 0.005 * len(texts)


def test_poems_have_two_to_four_lines_and_several_moods():
    poems = rows("poems")
    assert {row["text"].count("\n") + 1 for row in poems} == {2, 3, 4}
    assert min(Counter(row["label"] for row in poems).values()) >= 100
    assert near_duplicates([row["text"] for row in poems], 0.6) == []


def test_quatrains_have_the_form_of_their_label():
    quatrains = rows("quatrains")
    assert is_chinese(row["text"] for row in quatrains)
    for row in quatrains:
        size = {"wuyan": 5, "qiyan": 7}[row["label"]]
        lines = re.fullmatch(rf"(.{{{size}}})，(.{{{size}}})。(.{{{size}}})，(.{{{size}}})。", row["text"])
        assert lines, row["text"]
    lines = [line for row in quatrains for line in re.split("[，。]", row["text"]) if line]
    assert len(set(lines)) == len(lines)
