"""What is kept on disk: parts of a corpus, values, tokenizers."""

import json
import subprocess
import sys

import numpy as np
import pytest
from datasets import Dataset

from textvae.data import corpus as corpus_module
from textvae.data import encoding, storage
from textvae.data.config import DataConfig
from textvae.data.corpus import load_corpus
from textvae.data.encoding import kept_tokenizer
from textvae.data.storage import CHARACTERS, cut, remembered, store, texts_at_once
from textvae.tokenization import TokenizerConfig, make_tokenizer


@pytest.fixture
def stored(monkeypatch, tmp_path):
    """Fifty labelled texts on disk, in batches of seven."""
    monkeypatch.setattr(storage, "TEXTS", 7)
    rows = ({"text": f"text {i}", "label": None if i % 3 else str(i)} for i in range(50))
    return store(rows, True, [str(tmp_path)], "train")[0]


def test_parts(stored):
    """Every row once, with its label, in the order in which it stood; the choice is a permutation's."""
    parts = cut(stored, {"validation": 5, "test": 9}, "train", 3)
    assert {name: len(part) for name, part in parts.items()} == {"validation": 5, "test": 9, "train": 36}
    order = np.random.default_rng(3).permutation(50)
    chosen = {"validation": order[:5], "test": order[5:14], "train": order[14:]}
    for name, part in parts.items():
        assert part.to_list() == [stored[int(i)] for i in sorted(chosen[name])]
        assert part.cache_files


def test_parts_are_written_once(stored, monkeypatch):
    first = cut(stored, {"test": 9}, "train", 0)
    monkeypatch.setattr(storage, "_write_some", lambda *_: pytest.fail("written again"))
    second = cut(stored, {"test": 9}, "train", 0)
    assert {name: part._fingerprint for name, part in first.items()} == {
        name: part._fingerprint for name, part in second.items()
    }
    assert second["test"].to_list() == first["test"].to_list()


def test_a_value_is_computed_once(tmp_path):
    calls = []
    key = [str(tmp_path)]
    assert remembered(key, "numbers", lambda: calls.append(1) or [1, 2]) == [1, 2]
    assert remembered(key, "numbers", lambda: calls.append(1) or [1, 2]) == [1, 2]
    assert remembered([*key, "other"], "numbers", lambda: calls.append(1) or [3]) == [3]
    assert len(calls) == 2


def test_another_process_finds_what_is_kept(corpus_file):
    """The same fingerprints, so that nothing is read, cut, counted or tokenised twice."""
    program = (
        "import sys, json; from textvae.data.config import DataConfig; from textvae.data.corpus import load_corpus;"
        "splits = load_corpus(DataConfig(source=sys.argv[1])).splits;"
        "print(json.dumps({name: split._fingerprint for name, split in splits.items()}))"
    )
    printed = [
        subprocess.run([sys.executable, "-c", program, str(corpus_file)], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    first, second = (json.loads(done.stdout.splitlines()[-1]) for done in printed)
    assert first == second
    here = load_corpus(DataConfig(source=str(corpus_file))).splits
    assert first == {name: split._fingerprint for name, split in here.items()}


def test_what_is_put_aside_has_a_limit(monkeypatch, tmp_path):
    monkeypatch.setattr(corpus_module, "MOST_PUT_ASIDE", 4)
    (tmp_path / "texts.txt").write_text("".join(f"text {i}\n" for i in range(300)))
    splits = load_corpus(DataConfig(source=str(tmp_path / "texts.txt"), validation_size=0.2, test_size=0.01)).splits
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [293, 4, 3]


KINDS = {
    "word": {},
    "char": {},
    "bpe": {"vocab_size": 300},
    "unigram": {"vocab_size": 300},
    "sentencepiece": {"vocab_size": 300},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kept_tokenizer_is_the_one_that_was_trained(kind, texts, monkeypatch):
    config, train = TokenizerConfig(kind=kind, **KINDS[kind]), Dataset.from_dict({"text": texts})
    fresh, first = make_tokenizer(config, texts), kept_tokenizer(config, train)
    monkeypatch.setattr(encoding, "make_tokenizer", lambda *_: pytest.fail("trained again"))
    second = kept_tokenizer(config, train)
    probes = [*texts[:5], "<eos> is a text", "Zażółć 山水 🙂", "a\nb  c"]
    for tokenizer in (first, second):
        assert tokenizer.get_vocab() == fresh.get_vocab()
        assert tokenizer(probes)["input_ids"] == fresh(probes)["input_ids"]
        assert tokenizer.special_tokens_map == fresh.special_tokens_map
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        kept_tokenizer(config, Dataset.from_dict({"text": texts[:-1]}))


def test_how_many_texts_are_in_memory_together():
    short, long = (Dataset.from_dict({"text": ["x" * size] * 20}) for size in (10, CHARACTERS // 4))
    assert texts_at_once(short, 4000) == 4000
    assert 2 <= texts_at_once(long, 4000) <= 4
    assert texts_at_once(Dataset.from_dict({"text": ["x" * CHARACTERS * 2]}), 4000) == 1
    assert texts_at_once(Dataset.from_dict({"text": []}), 4000) == 4000
