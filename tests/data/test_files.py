"""Every format, read back exactly, and what is said of a broken file."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from textvae.data.files import CHUNK, clean, columns_of, paragraphs, read_texts, split_into_units

ROWS = [
    {"text": "one, two", "label": "a"},
    {"text": 'she said "no"', "label": "b"},
    {"text": "two\nlines", "label": "a"},
    {"text": "Zażółć 山水 🙂", "label": "c"},
]


def write(path, content):
    """Writes bytes, text, or rows in the format that the ending names."""
    suffix = path.suffix
    if isinstance(content, str | bytes):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(content), path)
    elif suffix == ".json":
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    else:
        tab = "\t" if suffix == ".tsv" else ","
        quote = '"{}"'.format
        lines = [tab.join(content[0])]
        lines += [tab.join(quote(str(value).replace('"', '""')) for value in row.values()) for row in content]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(path, text_column="text", label_column=None, unit="line"):
    return list(read_texts(path, text_column, label_column, unit))


def texts(path, unit="line"):
    return [row["text"] for row in read(path, unit=unit)]


def error(path, **options):
    """What reading a file says; one line that begins with the file's name."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - callers compare the message
        read(path, **options)
    message = str(caught.value)
    assert type(caught.value) is ValueError
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


# ---- Tables ----


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.json", "a.jsonl", "a.parquet", "UPPER.JSONL"])
def test_tables(tmp_path, name):
    path = tmp_path / name
    write(path.with_suffix(path.suffix.lower()), ROWS).rename(path)
    assert read(path, label_column="label") == ROWS
    assert texts(path) == [row["text"] for row in ROWS]
    assert columns_of(path) == ["text", "label"]


def test_json_lines_in_a_json_file(tmp_path):
    path = write(tmp_path / "a.json", "\n".join(json.dumps(row) for row in ROWS))
    assert read(path, label_column="label") == ROWS


def test_a_parquet_file_of_several_batches(tmp_path):
    rows = [{"text": f"text {n}", "other": n} for n in range(3000)]
    assert texts(write(tmp_path / "a.parquet", rows)) == [row["text"] for row in rows]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.json", "a.jsonl", "a.parquet"])
def test_a_missing_column(tmp_path, name):
    path = write(tmp_path / name, [{"texts": "x", "label": "y"}])
    message = error(path)
    assert message.endswith(": no column 'text'; did you mean 'texts'? known: label, texts (set data.text_column)")
    assert message.split(": ")[0] in (", line 2", ", line 1", ", row 1")
    message = error(path, text_column="texts", label_column="lable")
    assert message.endswith("no column 'lable'; did you mean 'label'? known: label, texts (set data.label_column)")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": 5}\n', ", line 2: text holds 5, not a text"),
        ("a.jsonl", '{"text": ["a"]}\n', ", line 1: text holds ['a'], not a text"),
        ("a.json", '[{"text": "a"},\n {"text": true}]', ", line 2: text holds True, not a text"),
        ("a.parquet", [{"text": 1}], ", row 1: text holds 1, not a text"),
    ],
)
def test_a_text_that_is_none(tmp_path, name, content, expected):
    assert error(write(tmp_path / name, content)) == expected


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.parquet"])
def test_nulls(tmp_path, name):
    """A null text is a blank one; a null label stays null, and other labels are words."""
    rows = [{"text": None, "label": 1}, {"text": "x", "label": None}, {"text": "y", "label": 2}]
    assert read(write(tmp_path / name, rows), label_column="label") == [
        {"text": "", "label": "1"},
        {"text": "x", "label": None},
        {"text": "y", "label": "2"},
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.jsonl", "a.parquet"])
def test_texts_are_stripped_with_one_sort_of_line_end(tmp_path, name):
    path = write(tmp_path / name, [{"text": "  a\r\nb \u3000"}])
    assert texts(path) == ["a\nb"]


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.jsonl", "a.parquet"])
def test_paragraphs_of_rows_keep_the_label(tmp_path, name):
    path = write(tmp_path / name, [{"text": "a\nb\n \n  c\n\n\nd", "label": "x"}, {"text": " \n ", "label": "y"}])
    expected = [("a\nb", "x"), ("c", "x"), ("d", "x"), ("", "y")]
    rows = read(path, label_column="label", unit="paragraph")
    assert [(row["text"], row["label"]) for row in rows] == expected


# ---- csv ----


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("text\na\n\nb\n", ["a", "b"]),
        ("\n\ntext\na\n", ["a"]),
        ("text\r\na\r\nb\r\n", ["a", "b"]),
        ("\ufefftext\na\n", ["a"]),
        ('text,n\n"a\nb",1\n', ["a\nb"]),
        ('text,n\n"a\r\nb",1\r\n', ["a\nb"]),
        ('text\nthe 5" disk\n', ['the 5" disk']),
        ("text\n12\n", ["12"]),
        ("text\n", []),
        ("", []),
    ],
)
def test_csv(tmp_path, content, expected):
    assert texts(write(tmp_path / "a.csv", content)) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("text,n\na,1\nb\n", ", line 3: 1 fields where the header has 2"),
        ("text,n\na,1\nb,2,3\n", ", line 3: 3 fields where the header has 2"),
        # The number is that of the line on which the row starts, whatever its length.
        ('text,n\n"a\n\nb",1\nc\n', ", line 5: 1 fields where the header has 2"),
        ('text,n\na,1\n"b,2\nc,3\n', ", line 3: broken csv in the row that starts here: unexpected end of data"),
        ('text\n"a"b\n', ", line 2: broken csv in the row that starts here: ',' expected after '\"'"),
        (b"text\na\n\xe9\n", ", line 3: not UTF-8 (byte 0xe9 at column 1); convert the file, with iconv"),
    ],
)
def test_broken_csv(tmp_path, content, expected):
    assert error(write(tmp_path / "a.csv", content)).startswith(expected)


def test_quotes_in_tsv(tmp_path):
    """A text of several lines may stand in quotes; one that begins with a quote does not swallow other rows."""
    path = write(tmp_path / "a.tsv", 'text\tn\n"one\ntwo"\t1\n"""I am here."\t0\n')
    assert texts(path) == ["one\ntwo", '"I am here.']
    path = write(tmp_path / "b.tsv", 'text\tn\nx\t1\n"I am here.\t1\na row in between\t0\nYou are there."\t1\n')
    assert error(path).startswith(', line 3: a field that goes on over lines and tabs, since it begins with "; a text ')
    path = write(tmp_path / "d.tsv", 'n\ttext\n1\t"def f():\n\treturn 1\n"\n')  # a text of lines and tabs
    assert texts(path) == ["def f():\n\treturn 1"]
    path = write(tmp_path / "c.tsv", 'text\tn\n"Great" film\t1\n')
    assert error(path).startswith(", line 2: broken tsv in the row that starts here: ")
    assert error(path).endswith('own doubled: """Yes,"" she said."')


def test_a_field_longer_than_the_default_limit_of_csv(tmp_path):
    text = "x" * 200_000
    assert texts(write(tmp_path / "a.csv", f"text\n{text}\n")) == [text]


# ---- JSON ----


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[]", []),
        (" \n [ \n ] \n", []),
        ('[{"text": "a"}]', ["a"]),
        ('\ufeff[{"text": "a"}\n,\n{"text": "b"}]\n', ["a", "b"]),
        ('[{"text": "[,]{}"}, {"text": "\\u5c71"}]', ["[,]{}", "山"]),
        ("", []),
    ],
)
def test_json_arrays(tmp_path, content, expected):
    assert texts(write(tmp_path / "a.json", content)) == expected


@pytest.mark.parametrize("size", [1, 7, CHUNK - 40, CHUNK, 3 * CHUNK])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_longer_than_what_is_read_at_once(tmp_path, size, indent):
    """Elements, and characters of several bytes, fall across the borders of what is read at once."""
    rows = [{"text": letter * size} for letter in "a山b"] + [{"text": str(n)} for n in range(100)]
    path = write(tmp_path / "a.json", json.dumps(rows, indent=indent, ensure_ascii=False))
    assert texts(path) == [row["text"] for row in rows]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('[{"text": "a"},\n{"text": }]', ", line 2: broken JSON: Expecting value"),
        ('[{"text": "a"}\n{"text": "b"}]', ", line 2: broken JSON: { where , or ] is wanted"),
        ('[{"text": "a"},\n', ", line 2: broken JSON: Expecting value"),
        ('[{"text": "a"}\n', ", line 2: broken JSON: the end of the file where , or ] is wanted"),
        ('[{"text": "a"},]', ", line 1: broken JSON: Expecting value"),
        ('[{"text": "a"}]\nx', ", line 2: broken JSON: something follows the array"),
        ('[{"text": "a\n"}]', ", line 1: broken JSON: Invalid control character at"),
        ('[\n["a"]]', ", line 2: list where an object with named columns is wanted"),
        ("[1, 2]", ", line 1: int where an object with named columns is wanted"),
        ("[" * 100_000, ", line 1: broken JSON: maximum recursion depth exceeded"),
        ("[" + '{"a":' * 100_000, ", line 1: broken JSON: maximum recursion depth exceeded"),
        (b'[{"text": "a"},\n{"text": "\xe9"}]', ", line 2: not UTF-8 (byte 0xe9 at column 11)"),
        (b'[{"text": "a"}]\n\xe5', ", line 2: not UTF-8 (byte 0xe5 at column 1)"),
    ],
)
def test_broken_json_arrays(tmp_path, content, expected):
    assert error(write(tmp_path / "a.json", content)).startswith(expected)


def test_a_broken_array_after_much_that_is_good(tmp_path):
    good = ",\n".join(json.dumps({"text": "x" * 1000}) for _ in range(3000))
    path = write(tmp_path / "a.json", f'[{good},\n{{"text" "b"}}]')
    assert error(path) == ", line 3001: broken JSON: Expecting ':' delimiter"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"text": "a"}\n{"text": \n', ", line 2: broken JSON: Expecting value, column 10"),
        ('{"text": "a"}\n\n["b"]\n', ", line 3: list where an object with named columns is wanted"),
        ('"a"\n', ", line 1: str where an object with named columns is wanted"),
        ('{"text": "a"} {"text": "b"}\n', ", line 1: broken JSON: Extra data, column 15"),
        ('{"text": "a"}\n{"text": "\\ud83d"}\n', ", line 2: half a character"),
        ('{"text": "a", "n": ' + "1" * 5000 + "}\n", ", line 1: broken JSON: Exceeds the limit"),
        ("[" * 100_000, ", line 1: broken JSON: maximum recursion depth exceeded"),
        (b'\n{"text": "\xe9"}\n', ", line 2: not UTF-8 (byte 0xe9 at column 11)"),
    ],
)
def test_broken_json_lines(tmp_path, content, expected):
    assert error(write(tmp_path / "a.jsonl", content)).startswith(expected)


# ---- Plain text ----


@pytest.mark.parametrize(
    ("content", "line", "paragraph", "document"),
    [
        ("a\nb\n\nc\n", ["a", "b", "", "c"], ["a\nb", "c"], ["a\nb\n\nc"]),
        ("a\r\nb\r\n\r\nc", ["a", "b", "", "c"], ["a\nb", "c"], ["a\nb\n\nc"]),
        ("\ufeffa\n", ["a"], ["a"], ["a"]),
        (" a \n\t\n  b\n  c ", ["a", "", "b", "c"], ["a", "b\n  c"], ["a \n\t\n  b\n  c"]),
        ("a\u2028b\x0bc\x85d", ["a\u2028b\x0bc\x85d"], ["a\u2028b\x0bc\x85d"], ["a\u2028b\x0bc\x85d"]),
        (" \n\n \n", ["", "", ""], [], [""]),
        ("", [], [], [""]),
    ],
)
def test_units_of_plain_text(tmp_path, content, line, paragraph, document):
    path = write(tmp_path / "a.txt", content)
    assert texts(path, "line") == line
    assert texts(path, "paragraph") == paragraph
    assert texts(path, "document") == document
    assert columns_of(path) == []


@pytest.mark.parametrize("unit", ["line", "paragraph", "document"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            b"a\nb\ncaf\xe9\n",
            ", line 3: not UTF-8 (byte 0xe9 at column 4); convert the file, with iconv -f ENCODING (GB18030 for",
        ),
        (
            "a".encode("utf-16"),
            ", line 1: not UTF-8 (byte 0xff at column 1); convert the file, with iconv -f UTF-16 -t UTF-8",
        ),
        (b"\x7fELF\x01\n\x00\x00", ", line 2: a zero byte, so this is no UTF-8 text"),
    ],
)
def test_what_is_no_text(tmp_path, content, expected, unit):
    assert error(write(tmp_path / "a.txt", content), unit=unit).startswith(expected)


@pytest.mark.parametrize("content", [b"no parquet at all", b"", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_broken_parquet(tmp_path, content):
    assert error(write(tmp_path / "a.parquet", content)).startswith(", after row 0: broken parquet: ")


def test_parquet_with_text_that_is_not_utf8(tmp_path):
    bytes_as_text = pa.array([b"caf\xe9"]).view(pa.string())
    pq.write_table(pa.table({"text": bytes_as_text}), tmp_path / "a.parquet")
    assert "broken parquet: " in error(tmp_path / "a.parquet")


# ---- Small functions ----


def test_clean():
    assert clean("\n a\r\n b\t") == "a\n b"


def test_paragraphs():
    assert list(paragraphs(["", "a", "b", " ", "", "c"])) == ["a\nb", "c"]


@pytest.mark.parametrize(
    ("unit", "expected"), [("line", ["a\n\nb"]), ("document", ["a\n\nb"]), ("paragraph", ["a", "b"])]
)
def test_split_into_units(unit, expected):
    assert split_into_units(" a\n\nb ", unit) == expected


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_an_empty_cell_is_no_label(tmp_path, name):
    mark = "," if name == "a.csv" else "\t"
    (tmp_path / name).write_text(f"text{mark}label\none{mark}a\ntwo{mark}\n")
    assert [row["label"] for row in read(tmp_path / name, label_column="label")] == ["a", None]


def test_a_line_of_json_may_lack_its_label(tmp_path):
    """All but the first, which tells whether there are any."""
    rows = ['{"text": "one", "label": "a"}', '{"text": "two"}', '{"text": "three", "label": ""}']
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    assert [row["label"] for row in read(tmp_path / "a.jsonl", label_column="label")] == ["a", None, None]
    (tmp_path / "b.jsonl").write_text('{"text": "one"}\n{"text": "two", "label": "a"}\n')
    with pytest.raises(ValueError, match=r"b\.jsonl, line 1: no column 'label'"):
        read(tmp_path / "b.jsonl", label_column="label")
