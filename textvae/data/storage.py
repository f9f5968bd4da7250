"""Texts on disk in Arrow, memory-mapped; what has been read once and has not changed is not read again."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from datasets import Dataset
from datasets.fingerprint import Hasher
from datasets.utils import tqdm

from textvae.writing import whole_file

# A batch in memory: at most so many texts, or about so many characters.
TEXTS, CHARACTERS = 10_000, 1 << 24


def texts_at_once(split: Dataset, most: int) -> int:
    """How many texts of a split may be in memory together: by their mean length, and `most` of short ones."""
    mean = split.data.nbytes / max(1, len(split.data))  # of the whole table, of which the split may be a part
    return max(1, min(most, int(CHARACTERS / max(1.0, mean))))


def store(rows: Iterable[dict[str, str | None]], labelled: bool, key: object, name: str) -> tuple[Dataset, int]:
    """Writes texts to disk, without blank ones, unless they stand there already.

    Args:
        rows: with `text` and, if labelled, `label`; not touched when the key is known.
        labelled: whether there are labels.
        key: all that the rows depend on.
        name: of the split, for the progress bar.

    Returns:
        The texts, memory-mapped, and the number of blank ones left out.
    """
    folder = place_of(key, "texts")
    table, count = folder / "texts.arrow", folder / "blank.json"
    if not table.exists():
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            # Under another name until all is written: an interrupted run leaves nothing that looks whole.
            draft = Path(scratch) / table.name
            blank = _write(draft, tqdm(rows, desc=f"Reading {name}", unit=" texts", delay=1), labelled)
            count.write_text(json.dumps(blank))
            os.replace(draft, table)
    return Dataset.from_file(str(table)), json.loads(count.read_text())


def place_of(key: object, what: str) -> Path:
    """Where on disk something is kept that depends on the key alone; its parent is there."""
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "textvae" / what
    folder.mkdir(parents=True, exist_ok=True)
    return folder / Hasher.hash(key)


def remembered(key: object, what: str, compute: Callable[[], Any]) -> Any:
    """A value that JSON can hold, computed once."""
    file = place_of(key, what).with_suffix(".json")
    if not file.is_file():
        value = json.dumps(compute())
        with whole_file(file) as draft:
            draft.write_text(value)
    return json.loads(file.read_text())


def kept_folder(key: object, what: str, fill: Callable[[Path], None]) -> Path:
    """A folder that is filled once; it is there whole or not at all."""
    folder = place_of(key, what)
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            draft = Path(scratch) / folder.name
            draft.mkdir()
            fill(draft)
            try:
                os.replace(draft, folder)
            except OSError:
                if not folder.is_dir():  # else another process was faster
                    raise
    return folder


def cut(texts: Dataset, sizes: dict[str, int], rest: str, seed: int) -> dict[str, Dataset]:
    """Divides texts at random, each part in a table of its own, in the order in which its texts stood.

    Args:
        texts: all of them.
        sizes: of the parts.
        rest: name of the part that gets all others.
        seed: of the choice.
    """
    names = [*sizes, rest]

    def fill(folder: Path) -> None:
        part_of = np.full(len(texts), len(sizes), dtype=np.int8)
        order, start = np.random.default_rng(seed).permutation(np.arange(len(texts), dtype=np.int32)), 0
        for number, size in enumerate(sizes.values()):
            part_of[order[start : start + size]] = number
            start += size
        del order
        for number, name in enumerate(names):
            _write_some(folder / f"{name}.arrow", texts, part_of == number)

    folder = kept_folder([texts._fingerprint, sizes, rest, seed], "parts", fill)
    return {name: Dataset.from_file(str(folder / f"{name}.arrow")) for name in names}


def _write_some(path: Path, texts: Dataset, wanted: np.ndarray) -> None:
    table, row = texts.data.table, 0
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        for batch in table.to_batches():
            some = batch.filter(pa.array(wanted[row : row + len(batch)]))
            if len(some):
                writer.write_batch(some)
            row += len(batch)


def _write(path: Path, rows: Iterable[dict[str, str | None]], labelled: bool) -> int:
    # Large strings: no limit on the length of all texts of a batch together.
    schema = pa.schema([("text", pa.large_string())] + [("label", pa.string())] * labelled)
    blank = 0
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        batch, characters = [], 0
        for row in rows:
            if not row["text"]:
                blank += 1
                continue
            batch.append(row)
            characters += len(row["text"])
            if len(batch) == TEXTS or characters > CHARACTERS:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
                batch, characters = [], 0
        writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
    return blank
