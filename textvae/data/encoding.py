"""Texts to ids: in parallel, cached on disk, with progress."""

from __future__ import annotations

from functools import lru_cache

from datasets import Dataset, DatasetDict
from tokenizers import Tokenizer

from textvae.data.corpus import Corpus


def encode_corpus(corpus: Corpus, tokenizer, max_length: int | None, overlong: str) -> DatasetDict:
    """Adds `ids` (from bos to eos), `length` (predicted tokens: eos counted, bos not) and `bytes` to each text.

    Args:
        corpus: its notices and counts get those of overlong texts.
        tokenizer: a fast tokenizer.
        max_length: longest training text in tokens, bos and eos not counted; None for no limit.
        overlong: truncate or drop, for training texts only.

    Returns:
        The splits with the new columns, on disk.

    Raises:
        ValueError: dropping leaves no training text.
    """
    splits = DatasetDict()
    for name, split in corpus.splits.items():
        limit = max_length if name == "train" else None
        encoded = split.map(
            _encode,
            batched=True,
            batch_size=4000,
            fn_kwargs={"tokenizer": tokenizer.backend_tokenizer.to_str(), "limit": limit},
            desc=f"Tokenizing {name}",
        )
        if limit is not None:
            overlong_count = sum(encoded["overlong"])
            corpus.counts["train_overlong"] = overlong_count
            if overlong_count:
                done = "truncated" if overlong == "truncate" else "dropped"
                corpus.note(f"train: {overlong_count} texts of more than {limit} tokens {done}")
            if overlong_count and overlong == "drop":
                encoded = encoded.filter(_fits, input_columns="overlong", batched=True)
            if not len(encoded):
                raise ValueError(f"data.max_length: every training text has more than {limit} tokens")
            encoded = encoded.remove_columns("overlong")
        splits[name] = encoded
    return splits


def encode_texts(texts: list[str], tokenizer) -> Dataset:
    """The same columns for a list of texts in memory."""
    columns = _encode({"text": texts}, tokenizer.backend_tokenizer.to_str(), None)
    return Dataset.from_dict({"text": texts, **columns})


@lru_cache(maxsize=2)
def _load(tokenizer: str) -> Tokenizer:
    return Tokenizer.from_str(tokenizer)


def _encode(batch: dict, tokenizer: str, limit: int | None) -> dict:
    ids = [encoding.ids for encoding in _load(tokenizer).encode_batch_fast([text.strip() for text in batch["text"]])]
    columns = {"bytes": [len(text.strip().encode()) for text in batch["text"]]}
    if limit is not None:
        columns["overlong"] = [len(row) > limit + 2 for row in ids]
        ids = [row if len(row) <= limit + 2 else [*row[: limit + 1], row[-1]] for row in ids]
    return {"ids": ids, "length": [len(row) - 1 for row in ids], **columns}


def _fits(overlong: list[bool]) -> list[bool]:
    return [not value for value in overlong]
