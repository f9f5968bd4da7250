"""Reads local files row by row, so that memory does not grow with them, and says where a file is broken."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from textvae.validation import suggest

SUFFIXES = (".txt", ".csv", ".tsv", ".json", ".jsonl", ".parquet")
csv.field_size_limit(2**31 - 1)


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file, without their ends.

    Raises:
        ValueError: a line is not UTF-8; names the file, the line and the byte.
    """
    with open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}, line {number}: not UTF-8 (byte 0x{raw[error.start]:02x} at column {error.start + 1}); "
                    "convert the file, for instance with iconv -f latin1 -t utf-8"
                ) from None
            yield line.rstrip("\r\n")


def read_txt(path: Path, unit: str) -> Iterator[str]:
    """Texts of a plain file: its lines, its paragraphs or all of it."""
    if unit == "line":
        yield from read_lines(path)
    elif unit == "document":
        yield "\n".join(read_lines(path))
    else:
        yield from paragraphs(read_lines(path))


def paragraphs(lines: Iterable[str]) -> Iterator[str]:
    """Blocks of lines between blank ones."""
    block: list[str] = []
    for line in lines:
        if line.strip():
            block.append(line)
        elif block:
            yield "\n".join(block)
            block = []
    if block:
        yield "\n".join(block)


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a table with the number of the line (of the row, in parquet) each comes from.

    Raises:
        ValueError: what is not a row, with file and line.
    """
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        reader = csv.DictReader(_csv_lines(path), delimiter="," if suffix == ".csv" else "\t")
        try:
            for row in reader:
                if None in row:
                    raise ValueError(
                        f"{path}, line {reader.line_num}: more fields than the {len(reader.fieldnames)} columns"
                    )
                yield reader.line_num, row
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num}: broken {suffix[1:]}: {error}") from None
    elif suffix == ".parquet":
        yield from _read_parquet(path)
    elif suffix == ".jsonl" or _first_character(path) != "[":
        for number, line in enumerate(read_lines(path), 1):
            if line.strip():
                try:
                    yield number, _row(json.loads(line), path, number)
                except json.JSONDecodeError as error:
                    raise ValueError(f"{path}, line {number}: broken JSON: {error.msg}, column {error.colno}") from None
    else:
        try:
            rows = json.loads("\n".join(read_lines(path)))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {error.lineno}: broken JSON: {error.msg}, column {error.colno}") from None
        for number, row in enumerate(rows, 1):
            yield number, _row(row, path, number)


def _csv_lines(path: Path) -> Iterator[str]:
    return (line + "\n" for line in read_lines(path))


def _first_character(path: Path) -> str:
    return next((line.lstrip()[0] for line in read_lines(path) if line.strip()), "")


def _row(value: Any, path: Path, number: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{path}, line {number}: {type(value).__name__} where an object with named columns is wanted")
    return value


def _read_parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        number = 0
        for batch in file.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: broken parquet: {error}") from None


def read_texts(path: Path, text_column: str, label_column: str | None, unit: str) -> Iterator[dict[str, str]]:
    """Texts, and labels where a column is named, of one file in any known format.

    Args:
        path: the file.
        text_column: column of the text.
        label_column: column of the label, or None.
        unit: line, paragraph or document (see DataConfig).

    Yields:
        {"text": ..., "label": ...}; blank texts are still there.

    Raises:
        ValueError: a broken file, a missing column or a text that is not a string, with file and line.
    """
    if path.suffix.lower() == ".txt":
        yield from ({"text": text} for text in read_txt(path, unit))
        return
    for number, row in read_rows(path):
        for column in (text_column, label_column):
            if column is not None and column not in row:
                key = "text_column" if column == text_column else "label_column"
                names = [str(name) for name in row]
                raise ValueError(
                    f"{path}, line {number}: no column {column!r}; {suggest(column, names)} (set data.{key})"
                )
        text = row[text_column]
        if text is not None and not isinstance(text, str):
            raise ValueError(f"{path}, line {number}: {text_column} holds {text!r}, not a text")
        label = {} if label_column is None else {"label": str(row[label_column])}
        texts = paragraphs((text or "").split("\n")) if unit == "paragraph" else [text or ""]
        for part in texts:
            yield {"text": part, **label}


def columns_of(path: Path) -> list[str]:
    """Names of the columns of a file's first row; none for a plain text."""
    if path.suffix.lower() == ".txt":
        return []
    return [str(name) for _, row in _first(read_rows(path)) for name in row]


def _first(rows: Iterator) -> list:
    return [row for row, _ in zip(rows, range(1), strict=False)]
