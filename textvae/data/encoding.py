"""Texts to ids: in parallel, cached on disk, with progress."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sentencepiece
import tokenizers
import transformers
from datasets import Dataset, DatasetDict, Features, List, Value
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from textvae.data.corpus import Corpus, text_batches
from textvae.data.files import clean
from textvae.data.storage import kept_folder, texts_at_once
from textvae.tokenization import TokenizerConfig, make_tokenizer, special

COLUMNS = {"ids": List(Value("int32")), "length": Value("int32"), "bytes": Value("int32")}
OWN_COLUMNS = {"encoder_ids": List(Value("int32"))}


def encode_corpus(
    corpus: Corpus, tokenizer, max_length: int | None, overlong: str, encoder_tokenizer=None
) -> DatasetDict:
    """Adds `ids` (from bos to eos), `length` (predicted tokens: eos counted, bos not) and `bytes` to each text.

    Args:
        corpus: its notices and counts get those of overlong texts.
        tokenizer: a fast tokenizer.
        max_length: longest training text in tokens, bos and eos not counted; None for no limit.
        overlong: truncate or drop, for training texts only.
        encoder_tokenizer: of an encoder that has one of its own; adds `encoder_ids`.

    Returns:
        The splits with the new columns, on disk. A text that is truncated ends where its ids do, so that nothing
        that reads texts, such as an encoder with a tokenizer of its own, knows what the decoder is not asked for.

    Raises:
        ValueError: dropping leaves no training text.
    """
    splits = DatasetDict(
        {
            name: _add_columns(split, _encoder(tokenizer), COLUMNS, f"Tokenizing {name}")
            for name, split in corpus.splits.items()
        }
    )
    if max_length is not None and "train" in splits:
        splits["train"] = _limit(splits["train"], corpus, tokenizer, max_length, overlong)
    if encoder_tokenizer is not None:
        encode = _own_encoder(encoder_tokenizer)
        for name, split in splits.items():
            splits[name] = _add_columns(split, encode, OWN_COLUMNS, f"Tokenizing {name} for the encoder")
            note_limit(splits[name], name, corpus.note, encoder_tokenizer.model_max_length)
    return splits


def kept_tokenizer(config: TokenizerConfig, train: Dataset, where: str = "tokenizer.path"):
    """The tokenizer of a recipe. One that is trained here is kept on disk, and found there for the same texts.

    Args:
        config: what kind.
        train: rows with `text`.
        where: dotted path in the recipe of the name of a pretrained one, for messages.
    """
    if config.path:
        return make_tokenizer(config, [], where)
    code = [file.read_bytes() for file in sorted(Path(special.__file__).parent.glob("*.py"))]
    made_by = [code, *(package.__version__ for package in (tokenizers, transformers, sentencepiece))]

    def fill(folder: Path) -> None:
        make_tokenizer(config, chain.from_iterable(text_batches(train))).save_pretrained(folder)

    key = [config.model_dump(), train._fingerprint, made_by]
    return AutoTokenizer.from_pretrained(kept_folder(key, "tokenizer", fill))


def encode_texts(texts: list[str], tokenizer, encoder_tokenizer=None) -> Dataset:
    """The same columns for a list of texts, in memory."""
    table = pa.table({"text": pa.array([clean(text) for text in texts], pa.large_string())})
    table = _encoder(tokenizer)(table)
    return Dataset(table if encoder_tokenizer is None else _own_encoder(encoder_tokenizer)(table))


def text_lengths(dataset: Dataset) -> np.ndarray:
    """Predicted tokens of each text: a view of the column on disk, where a list would hold an object for each."""
    return dataset.with_format("arrow")["length"][:].to_numpy()


def _add_columns(split: Dataset, encode: Callable[[pa.Table], pa.Table], columns: dict, title: str) -> Dataset:
    features, size = Features({**split.features, **columns}), texts_at_once(split, 4000)
    encoded = split.with_format("arrow").map(encode, batched=True, batch_size=size, features=features, desc=title)
    return encoded.with_format(None)


def _encoder(tokenizer) -> Callable[[pa.Table], pa.Table]:
    definition = _definition(tokenizer)

    # Nested, so that the cache knows it by its code and not only by its name.
    def encode(table: pa.Table) -> pa.Table:
        rows = [encoding.ids for encoding in _load(definition).encode_batch_fast(table["text"].to_pylist())]
        lengths = np.fromiter(map(len, rows), np.int32, len(rows))
        offsets = np.concatenate([[0], lengths.cumsum()]).astype(np.int32)
        ids = np.fromiter(chain.from_iterable(rows), np.int32, offsets[-1])
        return pa.table(
            {name: table[name] for name in table.column_names}
            | {
                "ids": pa.ListArray.from_arrays(offsets, ids),
                "length": lengths - 1,
                "bytes": pc.binary_length(table["text"]).cast(pa.int32()),
            }
        )

    return encode


def _own_encoder(tokenizer) -> Callable[[pa.Table], pa.Table]:
    # An encoder with learned positions reads no more tokens than it has positions; a token that ends texts stays last.
    definition, limit = _definition(tokenizer), tokenizer.model_max_length
    special = set(tokenizer.all_special_ids)

    def cut(ids: list[int]) -> list[int]:
        return [*ids[: limit - 1], ids[-1]] if ids[-1] in special else ids[:limit]

    def encode(table: pa.Table) -> pa.Table:
        backend = _load(definition)
        rows = [encoding.ids for encoding in backend.encode_batch_fast(table["text"].to_pylist())]
        rows = [ids if len(ids) <= limit else cut(ids) for ids in rows]
        return table.append_column("encoder_ids", pa.array(rows, pa.list_(pa.int32())))

    return encode


def _limit(train: Dataset, corpus: Corpus, tokenizer, limit: int, overlong: str) -> Dataset:
    count = pc.sum(pc.greater(train.data.column("length"), limit + 1)).as_py() or 0
    corpus.counts["train_overlong"] = count
    if not count:
        return train
    if overlong == "drop" and count == len(train):
        raise ValueError(f"data.max_length: every training text has more than {limit} tokens")
    corpus.note(
        f"train: {count} texts of more than {limit} tokens {'truncated' if overlong == 'truncate' else 'dropped'}"
    )

    def fits(lengths: list[int]) -> list[bool]:
        return [length <= limit + 1 for length in lengths]

    definition = _definition(tokenizer)

    def cut(texts: list[str], rows: list[list[int]]) -> dict[str, list]:
        long = [number for number, ids in enumerate(rows) if len(ids) > limit + 2]
        whole = _load(definition).encode_batch([texts[number] for number in long], add_special_tokens=False)
        for number, encoding in zip(long, whole, strict=True):
            rows[number] = [*rows[number][: limit + 1], rows[number][-1]]
            texts[number] = texts[number][: encoding.offsets[limit - 1][1]]
        sizes = [len(text.encode()) for text in texts]
        return {"text": texts, "ids": rows, "length": [len(ids) - 1 for ids in rows], "bytes": sizes}

    if overlong == "drop":
        return train.filter(fits, input_columns="length", batched=True, desc="Dropping overlong texts")
    columns, title = ["text", "ids"], "Truncating overlong texts"
    size = texts_at_once(train, 1000)
    return train.map(cut, input_columns=columns, batched=True, batch_size=size, features=train.features, desc=title)


def unknown_share(ids: list[list[int]], unk_token_id: int | None) -> float:
    """Share of the predicted tokens of texts (eos counted, bos not) that are the unknown word."""
    return sum(row.count(unk_token_id) for row in ids) / sum(len(row) - 1 for row in ids)


def training_texts(corpus: Corpus, tokenizer, max_length: int | None, overlong: str) -> Dataset:
    """The texts of a corpus that a model is trained on, as they were in training: long ones are cut or left out."""
    alone = Corpus(DatasetDict({"train": corpus.splits["train"]}))
    return encode_corpus(alone, tokenizer, max_length, overlong)["train"]


def note_limit(split: Dataset, name: str, note: Callable[[str], None], limit: int) -> None:
    """Says how many texts an encoder with a tokenizer of its own does not read whole."""
    if limit > np.iinfo(np.int32).max:  # a tokenizer without a limit says 10^30
        return
    count = pc.sum(pc.greater_equal(pc.list_value_length(split.data.column("encoder_ids")), limit)).as_py()
    if count:
        note(f"{name}: {count} texts reach the encoder's limit of {limit} tokens; it reads no more of them")


def _definition(tokenizer) -> str:
    # What a caller may have set for batches of its own has no place here; the string is a part of the cache's key.
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_padding()
    backend.no_truncation()
    return backend.to_str()


@lru_cache(maxsize=3)
def _load(definition: str) -> Tokenizer:
    tokenizer = Tokenizer.from_str(definition)
    # Not a part of the definition: a special token that a text spells is text.
    tokenizer.encode_special_tokens = True
    return tokenizer
