"""Texts on disk in Arrow, memory-mapped; what has been read once and has not changed is not read again."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import datasets
import pyarrow as pa
from datasets import Dataset
from datasets.fingerprint import Hasher
from datasets.utils import tqdm

# A batch in memory: at most so many texts, or about so many characters.
TEXTS, CHARACTERS = 10_000, 1 << 24


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
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "textvae" / Hasher.hash(key)
    table, count = folder / "texts.arrow", folder / "blank.json"
    if not table.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            # Under another name until all is written: an interrupted run leaves nothing that looks whole.
            draft = Path(scratch) / table.name
            blank = _write(draft, tqdm(rows, desc=f"Reading {name}", unit=" texts", delay=1), labelled)
            count.write_text(json.dumps(blank))
            os.replace(draft, table)
    return Dataset.from_file(str(table)), json.loads(count.read_text())


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
