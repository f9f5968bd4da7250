"""Reads local files row by row, so that memory does not grow with them, and says where a file is broken."""

from __future__ import annotations

import codecs
import csv
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from textvae.validation import one_line, suggest

SUFFIXES = (".txt", ".csv", ".tsv", ".json", ".jsonl", ".parquet")
CHUNK = 1 << 20
QUOTES = 'a text that begins with " has to stand in quotes as a whole, its own doubled: """Yes,"" she said."'
# Of what these readers make of a file. A part of the key of all that is cached: raise it whenever that changes.
VERSION = 3

Row = tuple[int, dict[str, Any]]


def read_texts(
    path: Path, text_column: str, label_column: str | None, unit: str, text_key: str = "data.text_column"
) -> Iterator[dict[str, str | None]]:
    """Texts, and labels where a column is named, of one file in any known format.

    Args:
        path: the file; its ending tells the format.
        text_column: column of the text.
        label_column: column of the label, or None. An empty cell is none, and neither is one that a line of JSON lacks.
        unit: line, paragraph or document (see DataConfig).
        text_key: where text_column is set, for messages.

    Yields:
        {"text": ..., "label": ...} with texts stripped. Blank texts are still there, as ""; a null label stays None.

    Raises:
        ValueError: a broken file, a missing column or a text that is not a string, with file and line (row, in
            parquet).
    """
    if path.suffix.lower() == ".txt":
        yield from ({"text": text} for text in read_txt(path, unit))
        return
    columns = [text_column] if label_column is None else [text_column, label_column]
    may_lack = path.suffix.lower() in (".json", ".jsonl")
    for place, (number, row) in enumerate(_rows(path, columns)):
        for column in columns:
            if column not in row and not (may_lack and place and column == label_column != text_column):
                key = text_key if column == text_column else "data.label_column"
                hint = f"{suggest(column, [str(name) for name in row])} (set {key})"
                raise _error(path, number, f"no column {column!r}; {hint}")
        text = "" if row[text_column] is None else row[text_column]
        if not isinstance(text, str):
            raise _error(path, number, f"{text_column} holds {one_line(repr(text), 60)}, not a text")
        label = {}
        if label_column is not None:
            value = row.get(label_column)
            label["label"] = None if value is None or value == "" else str(value)
        try:
            f"{text}{label}".encode()
        except UnicodeEncodeError:
            raise _error(path, number, "half a character (a lone surrogate)") from None
        for part in split_into_units(text, unit):
            yield {"text": part, **label}


def columns_of(path: Path) -> list[str]:
    """Names of the columns of a file's first row; none for a plain text."""
    if path.suffix.lower() == ".txt":
        return []
    return [str(name) for _, row in itertools.islice(_rows(path, []), 1) for name in row]


def split_into_units(text: str, unit: str) -> list[str]:
    """The texts in one row of a table: the row's text, or its paragraphs; stripped, with \\n as line end."""
    text = clean(text)
    return (list(paragraphs(text.split("\n"))) or [""]) if unit == "paragraph" else [text]


def clean(text: str) -> str:
    """A text as the toolkit keeps it: stripped, with \\n as line end."""
    return text.replace("\r\n", "\n").strip()


def paragraphs(lines: Iterable[str]) -> Iterator[str]:
    """Blocks of lines between blank ones, stripped."""
    block: list[str] = []
    for line in itertools.chain(lines, [""]):
        if line and not line.isspace():
            block.append(line)
        elif block:
            yield "\n".join(block).strip()
            block = []


def read_txt(path: Path, unit: str) -> Iterator[str]:
    """Texts of a plain file, stripped: its lines, its paragraphs or all of it."""
    if unit == "line":
        yield from (line.strip() for line in read_lines(path))
    elif unit == "document":
        yield "\n".join(read_lines(path)).strip()
    else:
        yield from paragraphs(read_lines(path))


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file, without their ends and without a byte order mark.

    Raises:
        ValueError: a line is not UTF-8 or holds a zero byte; names the file, the line and the byte.
    """
    with open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise _not_utf8(path, number, raw[error.start], error.start + 1) from None
            if "\0" in line:
                raise _error(path, number, "a zero byte, so this is no UTF-8 text (is it binary, or UTF-16?)")
            yield line.rstrip("\r\n")


def _rows(path: Path, columns: list[str]) -> Iterator[Row]:
    """Rows of a table, each with the number of its line (of the row, in parquet); `columns` are those wanted."""
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return _read_csv(path, "," if suffix == ".csv" else "\t")
    if suffix == ".parquet":
        return _read_parquet(path, columns)
    if suffix == ".json" and next(_read_chunks(path)).lstrip()[:1] == "[":
        return _read_json_array(path)
    return _read_json_lines(path)


def _read_csv(path: Path, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader((f"{line}\n" for line in read_lines(path)), delimiter=delimiter, strict=True)
    names, number = None, 1
    try:
        for row in reader:
            if names is None:
                names = row or None
            elif row and len(row) != len(names):
                raise _error(path, number, f"{len(row)} fields where the header has {len(names)}")
            elif delimiter == "\t" and any(_swallows_rows(field, place, len(row)) for place, field in enumerate(row)):
                raise _error(
                    path, number, f'a field that goes on over lines and tabs, since it begins with "; {QUOTES}'
                )
            elif row:
                yield number, dict(zip(names, row, strict=True))
            # Of the line on which the next row starts: a quoted field may hold line ends.
            number = reader.line_num + 1
    except csv.Error as error:
        what = f"broken {path.suffix[1:].lower()} in the row that starts here: {error}; {QUOTES}"
        raise _error(path, number, what) from None


def _swallows_rows(field: str, place: int, columns: int) -> bool:
    """Whether the lines of a field, with what stands around it, would each be a row of so many columns.

    Args:
        field: of a row.
        place: its number in the row, from 0.
        columns: how many there are.
    """
    first, *inner = (line.count("\t") for line in field.split("\n"))
    if not inner or columns < 2:
        return False
    return first == columns - 1 - place and inner == [columns - 1] * (len(inner) - 1) + [place]


def _read_json_lines(path: Path) -> Iterator[Row]:
    for number, line in enumerate(read_lines(path), 1):
        if line and not line.isspace():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                column = f", column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
                raise _error(path, number, f"broken JSON: {_reason(error)}{column}") from None
            yield number, _mapping(row, path, number)


_SPACE = re.compile(r"[ \t\r\n]*")


def _read_json_array(path: Path) -> Iterator[Row]:
    """Elements of an array, each given as soon as it has been read."""
    decoder, chunks = json.JSONDecoder(), _read_chunks(path)
    text, at, line = "", 0, 1

    def next_symbol() -> str:
        nonlocal text, at, line
        while True:
            end = _SPACE.match(text, at).end()
            line += text.count("\n", at, end)
            at = end
            if at < len(text):
                return text[at]
            text, at = next(chunks, ""), 0
            if not text:
                return ""

    next_symbol()
    at += 1
    symbol = next_symbol()
    while symbol != "]":
        while True:
            try:
                value, end = decoder.raw_decode(text, at)
                break
            except (ValueError, RecursionError) as error:
                # Perhaps the element is not all here. What is here is doubled, so long elements cost linear time.
                more = "".join(itertools.islice(chunks, 1 + len(text) // CHUNK))
                if not more:
                    number = line + text.count("\n", at, getattr(error, "pos", at))
                    raise _error(path, number, f"broken JSON: {_reason(error)}") from None
                text, at = text[at:] + more, 0
        yield line, _mapping(value, path, line)
        line += text.count("\n", at, end)
        at = end
        symbol = next_symbol()
        if symbol not in (",", "]"):
            raise _error(path, line, f"broken JSON: {symbol or 'the end of the file'} where , or ] is wanted")
        if symbol == ",":
            at += 1
            next_symbol()
    at += 1
    if next_symbol():
        raise _error(path, line, "broken JSON: something follows the array")


def _read_chunks(path: Path) -> Iterator[str]:
    """A UTF-8 file in pieces of a megabyte, at least one."""
    decoder, line = codecs.getincrementaldecoder("utf-8-sig")(), 1
    with open(path, "rb") as file:
        while True:
            raw = file.read(CHUNK)
            try:
                text = decoder.decode(raw, final=not raw)
            except UnicodeDecodeError as error:
                good = error.object[: error.start]
                column = error.start - good.rfind(b"\n")
                raise _not_utf8(path, line + good.count(b"\n"), error.object[error.start], column) from None
            yield text
            if not raw:
                return
            line += text.count("\n")


def _read_parquet(path: Path, columns: list[str]) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=CHUNK)  # page by page, however long a row group
        wanted = columns if columns and set(columns) <= set(file.schema_arrow.names) else None
        for batch in file.iter_batches(batch_size=1024, columns=wanted):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}, after row {number}: broken parquet: {one_line(error)}") from None


def _mapping(value: Any, path: Path, number: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _error(path, number, f"{type(value).__name__} where an object with named columns is wanted")
    return value


def _reason(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else one_line(error)


def _not_utf8(path: Path, number: int, byte: int, column: int) -> ValueError:
    with open(path, "rb") as file:
        utf16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    known = "UTF-16" if utf16 else "ENCODING (GB18030 for Chinese, latin1 for western languages, for instance)"
    hint = f"convert the file, with iconv -f {known} -t UTF-8"
    return _error(path, number, f"not UTF-8 (byte 0x{byte:02x} at column {column}); {hint}")


def _error(path: Path, number: int, what: str) -> ValueError:
    return ValueError(f"{path}, {'row' if path.suffix.lower() == '.parquet' else 'line'} {number}: {what}")
