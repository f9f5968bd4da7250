"""Texts to ids: exact values, whole held-out texts, a policy for long training texts, and no work done twice."""

import os

import datasets
import pytest
from datasets import Dataset, DatasetDict
from tokenizers import Tokenizer

from textvae.data.config import DataConfig
from textvae.data.corpus import Corpus, load_corpus
from textvae.data.encoding import encode_corpus, encode_texts
from textvae.tokenization import TokenizerConfig, decode, make_tokenizer

# Of two, five, one and three words.
TRAIN = ["the cat", "the dog sees the cat", "dog", "a dog sees"]
HELD_OUT = ["the dog sees the cat and the dog"]


@pytest.fixture
def words():
    """A word tokenizer: the specials are 0 to 4, words come by frequency."""
    return make_tokenizer(TokenizerConfig(kind="word"), TRAIN)


def corpus_of(train, held_out=HELD_OUT, **columns):
    held = {"text": held_out, **{name: values[: len(held_out)] for name, values in columns.items()}}
    return Corpus(
        DatasetDict(
            {
                "train": Dataset.from_dict({"text": train, **columns}),
                "validation": Dataset.from_dict(held),
                "test": Dataset.from_dict(held),
            }
        )
    )


@pytest.mark.parametrize("kind", ["word", "char", "bpe", "unigram", "sentencepiece"])
def test_columns(kind):
    size = {"bpe": 300, "unigram": 300, "sentencepiece": 273}.get(kind)
    tokenizer = make_tokenizer(TokenizerConfig(kind=kind, vocab_size=size), TRAIN * 5)
    texts = [*TRAIN, "Zażółć 山水 🙂"]
    splits = encode_corpus(corpus_of(texts, label=list("abcde")), tokenizer, None, "truncate")
    for row, text in zip(splits["train"], texts, strict=True):
        assert row["ids"] == tokenizer(text)["input_ids"]
        assert row["ids"][0] == tokenizer.bos_token_id
        assert row["ids"][-1] == tokenizer.eos_token_id
        assert row["length"] == len(row["ids"]) - 1
        assert row["bytes"] == len(text.encode())
    assert splits["train"]["text"][:] == texts
    assert splits["train"]["label"][:] == list("abcde")
    assert [split.column_names for split in splits.values()] == [["text", "label", "ids", "length", "bytes"]] * 3


@pytest.mark.parametrize(
    ("limit", "overlong", "expected"),
    [
        (None, "truncate", TRAIN),
        (5, "truncate", TRAIN),
        (5, "drop", TRAIN),
        (4, "truncate", ["the cat", "the dog sees the", "dog", "a dog sees"]),
        (4, "drop", ["the cat", "dog", "a dog sees"]),
        (2, "truncate", ["the cat", "the dog", "dog", "a dog"]),
        (2, "drop", ["the cat", "dog"]),
        (1, "truncate", ["the", "the", "dog", "a"]),
    ],
)
def test_long_training_texts(words, limit, overlong, expected):
    corpus = corpus_of(TRAIN, label=list("abcd"))
    splits = encode_corpus(corpus, words, limit, overlong)
    assert splits["train"]["ids"][:] == words(expected)["input_ids"]
    assert splits["train"]["length"][:] == [len(text.split()) + 1 for text in expected]
    assert splits["train"]["text"][:] == expected
    assert splits["train"]["bytes"][:] == [len(text) for text in expected]
    kept = [text for text in TRAIN if overlong == "truncate" or text in expected]
    assert splits["train"]["label"][:] == ["abcd"[TRAIN.index(text)] for text in kept]
    for name in ("validation", "test"):
        assert splits[name]["ids"][:] == words(HELD_OUT)["input_ids"]
        assert splits[name].column_names == splits["train"].column_names
    count = sum(len(text.split()) > limit for text in TRAIN) if limit else None
    assert corpus.counts == ({"train_overlong": count} if limit else {})
    done = {"truncate": "truncated", "drop": "dropped"}[overlong]
    assert corpus.notices == ([f"train: {count} texts of more than {limit} tokens {done}"] if count else [])


@pytest.mark.parametrize("kind", ["char", "bpe", "unigram", "sentencepiece"])
def test_a_truncated_text_ends_where_its_ids_do(kind):
    size = {"bpe": 300, "unigram": 300, "sentencepiece": 280}.get(kind)
    texts = ["the dog sees the cat", "Zażółć 山水 the cat", "dog"]
    tokenizer = make_tokenizer(TokenizerConfig(kind=kind, vocab_size=size), texts * 5)
    whole = tokenizer(texts)["input_ids"]
    for limit in range(2, 12):
        rows = encode_corpus(corpus_of(texts), tokenizer, limit, "truncate")["train"]
        for row, text, ids in zip(rows, texts, whole, strict=True):
            assert text.startswith(row["text"])
            assert row["bytes"] == len(row["text"].encode())
            assert row["ids"] == (ids if len(ids) <= limit + 2 else [*ids[: limit + 1], tokenizer.eos_token_id])
            # A character of several bytes may be cut through: the text has it whole.
            assert row["text"].startswith(decode(tokenizer, [row["ids"]])[0].rstrip("\ufffd"))
            assert len(row["text"]) <= len(decode(tokenizer, [row["ids"]])[0].rstrip("\ufffd")) + 1


def test_dropping_everything_is_an_error(words):
    with pytest.raises(ValueError, match=r"^data.max_length: every training text has more than 1 tokens$"):
        encode_corpus(corpus_of(["the cat", "a dog"]), words, 1, "drop")


def test_a_corpus_without_train(words):
    corpus = Corpus(DatasetDict({"test": Dataset.from_dict({"text": HELD_OUT})}))
    assert list(encode_corpus(corpus, words, 1, "drop")) == ["test"]


def test_encode_texts(words):
    encoded = encode_texts([" the cat\r\n", "dog"], words)
    assert encoded["text"][:] == ["the cat", "dog"]
    assert encoded["ids"][:] == words(["the cat", "dog"])["input_ids"]
    assert encoded["length"][:] == [3, 2]
    assert encoded["bytes"][:] == [7, 3]
    assert len(encode_texts([], words)) == 0


def test_padding_and_truncation_set_for_other_batches_do_not_matter(words):
    expected = encode_texts(TRAIN, words)["ids"][:]
    words(TRAIN, padding=True, truncation=True, max_length=3)
    assert words.backend_tokenizer.truncation
    assert encode_texts(TRAIN, words)["ids"][:] == expected
    assert words.backend_tokenizer.truncation


def test_special_words_of_a_text_are_words(words):
    ids = encode_texts(["the <eos> <pad> cat"], words)["ids"][0]
    assert ids.count(words.eos_token_id) == 1
    assert words.pad_token_id not in ids


# ---- On disk, once ----


def test_what_has_not_changed_is_not_tokenised_again(tmp_path, words):
    path = tmp_path / "a.txt"
    path.write_text("\n".join(TRAIN * 10))

    def encode(tokenizer=words, limit=None):
        """What the files hold that were written, and when they were."""
        splits = encode_corpus(load_corpus(DataConfig(source=str(path))), tokenizer, limit, "truncate")
        files = [file["filename"] for split in splits.values() for file in split.cache_files]
        return {file: os.stat(file).st_mtime_ns for file in files}

    first = encode()
    assert len(first) == 3
    assert encode() == first
    # A tokenizer that has been saved and loaded is the same one.
    words.save_pretrained(tmp_path / "saved")
    assert encode(type(words).from_pretrained(tmp_path / "saved")) == first
    # Only what is truncated is written anew.
    assert len(encode(limit=2).items() - first.items()) == 1
    assert not encode(make_tokenizer(TokenizerConfig(kind="char"), TRAIN)).keys() & first.keys()
    path.write_text("\n".join(TRAIN * 11))
    assert not encode().keys() & first.keys()


def test_progress_bars_can_be_turned_off(tmp_path, capfd, words):
    path = tmp_path / "a.txt"
    path.write_text("\n".join(TRAIN * 10))
    datasets.disable_progress_bars()
    try:
        encode_corpus(load_corpus(DataConfig(source=str(path))), words, 2, "drop")
        assert capfd.readouterr().err == ""
        datasets.enable_progress_bars()
        path.write_text("\n".join(TRAIN * 12))
        encode_corpus(load_corpus(DataConfig(source=str(path))), words, None, "drop")
        assert "Tokenizing train" in capfd.readouterr().err
    finally:
        datasets.enable_progress_bars()


def test_ids_equal_those_of_the_backend_for_many_texts(texts, tokenizer):
    """More texts than a batch of the writer."""
    many = [f"{text} {number}" for number in range(40) for text in texts]
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    encoded = encode_corpus(corpus_of(many), tokenizer, None, "truncate")["train"]
    assert encoded["ids"][:] == [encoding.ids for encoding in backend.encode_batch(many)]
