"""From a source to three splits of clean texts, with notices, and one line for whatever is wrong."""

import itertools
import json
import logging
import os
import tempfile
import tracemalloc
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from textvae.data import corpus as module
from textvae.data.config import DataConfig
from textvae.data.corpus import find_files, fingerprint, load_corpus

WORDS = [f"text {number}" for number in range(40)]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Tests run in an empty folder, so that sources are short relative names."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(source, **options):
    return load_corpus(DataConfig(source=str(source), **options))


def error(source, **options):
    """What loading says: one line."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - callers compare the message
        load(source, **options)
    assert type(caught.value) is ValueError
    assert "\n" not in str(caught.value)
    return str(caught.value)


def lines(path, texts):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")


def json_lines(path, rows):
    lines(path, map(json.dumps, rows))


def contents(corpus):
    return {name: split["text"][:] for name, split in corpus.splits.items()}


# ---- Sources ----


@pytest.mark.parametrize(
    ("sample", "size", "labels"),
    [("headlines", 4000, range(6, 9)), ("poems", 1200, range(2, 20)), ("quatrains", 200, range(2, 20))],
)
def test_samples(sample, size, labels):
    corpus = load(f"sample:{sample}", label_column="label")
    assert list(corpus.splits) == ["train", "validation", "test"]
    assert sum(map(len, corpus.splits.values())) == size
    assert len({label for split in corpus.splits.values() for label in split["label"]}) in labels
    assert all(count == 0 for count in corpus.counts.values())


@pytest.mark.parametrize("valid", ["valid", "validation", "val", "dev", "VALID", "ptb.valid", "dev-00000-of-00001"])
@pytest.mark.parametrize("ending", [".txt", ".TXT"])
def test_a_folder(valid, ending):
    lines(f"data/train{ending}", ["a", "b"])
    lines(f"data/{valid}{ending}", ["c"])
    lines(f"data/test{ending}", ["d"])
    lines("data/README.md", ["ignored"])
    lines("data/.train.txt", ["hidden"])
    Path("data/train").mkdir()
    corpus = load("data")
    assert contents(corpus) == {"train": ["a", "b"], "validation": ["c"], "test": ["d"]}
    assert corpus.notices == []


def test_formats_of_a_folder_may_differ_between_splits():
    lines("data/train.txt", ["a", "b"])
    json_lines("data/valid.jsonl", [{"text": "c"}])
    pq.write_table(pa.table({"text": ["d"]}), "data/test.parquet")
    assert contents(load("data")) == {"train": ["a", "b"], "validation": ["c"], "test": ["d"]}


def test_several_files_of_a_split_in_the_order_of_their_names():
    for part in (1, 0, 2):
        lines(f"data/train-0000{part}.txt", [f"part {part}"])
    lines("data/valid.txt", ["v"])
    lines("data/test.txt", ["t"])
    assert load("data").splits["train"]["text"][:] == ["part 0", "part 1", "part 2"]


def test_a_glob_is_all_training_text_unless_it_finds_a_train_file():
    lines("books/a.txt", WORDS[:20])
    lines("books/sub/test of time.txt", WORDS[20:])
    assert find_files("books/**/*.txt") == {"train": [Path("books/a.txt"), Path("books/sub/test of time.txt")]}
    corpus = load("books/**/*.txt")
    assert sorted(itertools.chain(*contents(corpus).values())) == sorted(WORDS)
    for name in ("train", "dev", "test"):
        lines(f"set/{name}.txt", [name])
    assert contents(load("set/*.txt")) == {"train": ["train"], "validation": ["dev"], "test": ["test"]}


def test_a_glob_that_finds_other_files_as_well_is_all_training_text():
    lines("stories/night-train.txt", WORDS[:10])
    lines("stories/sea.txt", WORDS[10:])
    assert sorted(itertools.chain(*contents(load("stories/*.txt")).values())) == sorted(WORDS)


def test_a_folder_of_folders():
    for folder, words in (("train", ["a", "b"]), ("dev", ["c"]), ("test", ["d"])):
        for word in words:
            lines(f"data/{folder}/{word}.txt", [word])
    assert contents(load("data")) == {"train": ["a", "b"], "validation": ["c"], "test": ["d"]}


def test_a_folder_of_files_and_folders():
    lines("data/train/a.txt", ["a", "b"])
    lines("data/train/._a.txt", ["hidden"])
    lines("data/valid.txt", ["c"])
    lines("data/test.txt", ["d"])
    assert contents(load("data")) == {"train": ["a", "b"], "validation": ["c"], "test": ["d"]}
    lines("data/train.txt", ["e"])
    assert error("data") == "data.source: data has both a file and a folder for train; keep one of them"


def test_folders_in_a_folder_of_a_split():
    for path in ("data/train/pos/1.txt", "data/train/neg/1.txt", "data/test/pos/1.txt", "data/train/.git/x.txt"):
        lines(path, [path])
    assert find_files("data") == {
        "train": [Path("data/train/neg/1.txt"), Path("data/train/pos/1.txt")],
        "test": [Path("data/test/pos/1.txt")],
    }
    lines("data/train/urls.txt", ["what is this?"])
    assert error("data").startswith("data.source: data/train has both files and folders of files; leave there what are")


def test_a_folder_of_two_corpora():
    """They would be one, and every number that of another corpus."""
    for name in ("ptb.train", "ptb.valid", "ptb.char.train"):
        lines(f"data/{name}.txt", [name])
    told = "data.source: data has train files of several corpora: data/ptb.char.train.txt, data/ptb.train.txt; keep one"
    assert error("data").startswith(told)


def test_files_of_a_folder_that_are_not_read_are_named(caplog):
    for name in ("train", "valid", "test", "extra"):
        lines(f"data/{name}.txt", [name])
    assert contents(load("data"))["train"] == ["train"]
    assert "extra.txt in data: no name of a split, so not read" in caplog.text


@pytest.mark.parametrize("name", ["my file.txt", "what [1].txt", "a*b?.txt", "ü 山.txt", "it's,here.txt", "~x.txt"])
def test_odd_file_names(name):
    lines(name, WORDS)
    assert sum(map(len, load(name).splits.values())) == 40
    lines(f"folder [2] {name[0]}/train.txt", WORDS)
    assert sum(map(len, load(f"folder [2] {name[0]}").splits.values())) == 40


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("sample:headline", "data.source: no sample corpus 'headline'; did you mean 'headlines'? known: headlines, "),
        ("missing.txt", "data.source: no such file or folder: missing.txt"),
        ("./missing", "data.source: no such file or folder: ./missing"),
        ("~nobody/x.csv", "data.source: no such file or folder: ~nobody/x.csv"),
        ("*.csv", "data.source: no such file or folder: *.csv"),
        ("dir*.txt", "data.source: no such file or folder: dir*.txt"),
        ("pi*.txt", "data.source: pipe.txt is not a regular file"),
        ("notes.md", "data.source: notes.md has an unknown ending; known: .txt, .csv, .tsv, .json, .jsonl, .parquet"),
        ("notes*", "data.source: notes.md has an unknown ending; known: "),
        ("empty", "data.source: no train file in folder empty; wanted train.txt (or .csv, .tsv, .json, .jsonl, .parq"),
        ("odd", "data.source: no train file in folder odd; wanted "),
        ("twice", "data.source: train has files of several formats: twice/train.jsonl, twice/train.txt; name those"),
        ("pipe.txt", "data.source: pipe.txt is not a regular file"),
        ("piped", "data.source: piped/train.txt is not a regular file"),
        ("/dev/null", "data.source: /dev/null has an unknown ending"),
        ("directory.txt", "data.source: no train file in folder directory.txt"),
        ("x" * 300 + ".txt", "x" * 300 + ".txt: file name too long"),
    ],
)
def test_sources_that_are_none(source, expected):
    lines("notes.md", WORDS)
    lines("odd/corpus.txt", WORDS)
    lines("twice/train.txt", WORDS)
    json_lines("twice/train.jsonl", [{"text": "a"}])
    for name in ("empty", "piped", "directory.txt"):
        Path(name).mkdir()
    os.mkfifo("pipe.txt")
    os.mkfifo("piped/train.txt")
    assert error(source).startswith(expected)


@pytest.mark.parametrize("source", ["file.txt", "folder", "folder/train.txt", "folder/*.txt"])
def test_what_may_not_be_read(source, monkeypatch):
    # Not in tmp_path, which only its owner may enter: the folder has to be visible and closed.
    with tempfile.TemporaryDirectory() as place:
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", Path(place))
        os.chmod(place, 0o777)
        os.chdir(place)
        lines("file.txt", WORDS)
        lines("folder/train.txt", WORDS)
        os.chmod("file.txt", 0)
        os.chmod("folder", 0)
        user = os.geteuid()
        try:
            if user == 0:  # whom no mode keeps out
                os.seteuid(65534)
            message = error(source)
        finally:
            os.seteuid(user)
            os.chmod("folder", 0o755)
            os.chdir("/")
    assert message in (f"{source}: permission denied", f"data.source: no such file or folder: {source}")


def test_a_cache_that_cannot_be_written(monkeypatch):
    lines("a.txt", WORDS)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", Path("a.txt"))
    assert error("a.txt").endswith(": not a directory")


def test_options_of_the_hub_are_not_used_for_files():
    lines("a.txt", WORDS)
    corpus = load("a.txt", split="train", revision="main")
    assert corpus.notices[0] == "data.split and data.revision: not used, since a.txt is not on the Hub"


# ---- What a file may hold ----


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", b"", "a.txt: the file is empty"),
        ("a.txt", b" \n\t\n\r\n", "a.txt: no texts in it, only 3 blank ones"),
        ("a.txt", b"one\n", "a.txt: too few texts (1) to put validation and test aside"),
        ("a.txt", b"one\ntwo\n\n", "a.txt: too few texts (2) to put validation and test aside"),
        (
            "a.txt",
            b"one\ntwo\ncaf\xe9\n",
            "a.txt, line 3: not UTF-8 (byte 0xe9 at column 4); convert the file, with ico",
        ),
        ("a.txt", bytes(range(256)), "a.txt, line 1: a zero byte, so this is no UTF-8 text"),
        ("a.csv", b"text\n", "a.csv: no texts in it"),
        ("a.csv", b"texts\na\n", "a.csv, line 2: no column 'text'; did you mean 'texts'? known: texts (set data.text"),
        ("a.csv", b'"te\nxt"\na\n', "a.csv, line 3: no column 'text'; did you mean 'te\\nxt'? known: te xt (set data."),
        ("a.json", b"[]", "a.json: no texts in it"),
        ("a.json", b'[{"text": "a"}, {"text" "b"}]', "a.json, line 1: broken JSON: Expecting ':' delimiter"),
        ("a.jsonl", b'{"text": "a"}\n["b"]\n', "a.jsonl, line 2: list where an object with named columns is wanted"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "a.jsonl, line 1: half a character"),
        ("a.parquet", b"text", "a.parquet, after row 0: broken parquet: "),
    ],
)
def test_files_that_are_no_corpus(name, content, expected):
    Path(name).write_bytes(content)
    assert error(name).startswith(expected)
    # Nor is there half a corpus in the cache the second time.
    assert error(name).startswith(expected)


def test_the_error_names_the_file_of_the_split():
    lines("data/train.txt", WORDS)
    Path("data/valid.txt").write_bytes(b"a\n\xff\n")
    assert error("data").startswith("data/valid.txt, line 2: not UTF-8")
    Path("data/valid.txt").write_bytes(b"\n\n")
    assert error("data") == "data/valid.txt: no texts in it, only 2 blank ones"


def test_an_empty_file_beside_others():
    lines("a.txt", WORDS)
    lines("b.txt", [])
    assert sum(map(len, load("*.txt").splits.values())) == 40


def test_blank_texts_are_dropped_and_counted():
    lines("data/train.txt", ["a", "", " \t", "b"])
    json_lines("data/valid.jsonl", [{"text": "c"}, {"text": None}])
    lines("data/test.txt", ["d"])
    corpus = load("data")
    assert contents(corpus) == {"train": ["a", "b"], "validation": ["c"], "test": ["d"]}
    blank = {name: count for name, count in corpus.counts.items() if name.endswith("_blank")}
    assert blank == {"train_blank": 2, "validation_blank": 1, "test_blank": 0}
    assert corpus.notices == ["train: 2 blank texts dropped", "validation: 1 blank texts dropped"]
    assert load("data").counts == corpus.counts


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("line", ["a", "b", "c"]), ("paragraph", ["a\nb", "c"]), ("document", ["a\nb\n\nc"])],
)
def test_units(unit, expected):
    lines("data/train.txt", [" a", "b", "", "c "])
    lines("data/valid.txt", ["v"])
    lines("data/test.txt", ["t"])
    assert load("data", unit=unit).splits["train"]["text"][:] == expected


def test_duplicates_across_splits_are_counted():
    lines("data/train.txt", ["a", "b", "c", "c"])
    lines("data/valid.txt", ["c", " c ", "x", "b"])
    lines("data/test.txt", ["x", "y", "a"])
    corpus = load("data")
    shared = {name: count for name, count in corpus.counts.items() if "_in_" in name}
    assert shared == {"validation_in_train": 3, "test_in_train": 1, "test_in_validation": 1}
    assert corpus.notices == [
        "3 of 4 validation texts also stand in train",
        "1 of 3 test texts also stand in train",
        "1 of 3 test texts also stand in validation",
    ]


def test_notices_are_logged(caplog):
    lines("a.txt", [*WORDS, ""])
    with caplog.at_level(logging.INFO, "textvae"):
        corpus = load("a.txt")
    assert [record.message for record in caplog.records] == corpus.notices
    assert len(corpus.notices) == 2


# ---- Splits ----


def test_both_splits_are_made_by_a_seed():
    lines("a.txt", WORDS)
    corpus = load("a.txt", validation_size=0.1, test_size=0.2)
    assert {name: len(split) for name, split in corpus.splits.items()} == {"train": 28, "validation": 4, "test": 8}
    assert sorted(itertools.chain(*contents(corpus).values())) == sorted(WORDS)
    assert corpus.notices == ["the corpus has no validation (4 texts) and test (8 texts): cut from train with seed 0"]
    assert contents(load("a.txt", validation_size=0.1, test_size=0.2)) == contents(corpus)
    other = contents(load("a.txt", validation_size=0.1, test_size=0.2, seed=1))
    assert all(set(other[name]) != set(contents(corpus)[name]) for name in other)


@pytest.mark.parametrize(("given", "made"), [("valid", "test"), ("test", "validation")])
def test_one_split_is_made(given, made):
    lines("data/train.txt", WORDS)
    lines(f"data/{given}.txt", ["x", "y"])
    corpus = load("data")
    assert list(corpus.splits) == ["train", "validation", "test"]
    assert corpus.splits["validation" if given == "valid" else "test"]["text"][:] == ["x", "y"]
    assert sorted(corpus.splits["train"]["text"][:] + corpus.splits[made]["text"][:]) == sorted(WORDS)
    assert corpus.notices == [f"the corpus has no {made} (2 texts): cut from train with seed 0"]


def test_three_texts_are_enough():
    lines("a.txt", ["a", "b", "c"])
    assert [len(split) for split in load("a.txt").splits.values()] == [1, 1, 1]


def test_duplicates_between_splits_that_were_made():
    lines("a.txt", ["same"] * 20)
    assert load("a.txt").counts["validation_in_train"] == 1


# ---- Labels ----


def test_labels():
    json_lines("a.jsonl", [{"text": text, "label": text[-1]} for text in WORDS])
    for split in load("a.jsonl", label_column="label").splits.values():
        assert all(row["text"][-1] == row["label"] for row in split)
    assert load("a.jsonl").splits["train"].column_names == ["text"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.txt", "data.label_column: a.txt is plain text, without a column 'label'"),
        (
            "a.jsonl",
            "a.jsonl, line 1: no column 'label'; did you mean 'labels'? known: labels, text (set data.label_col",
        ),
    ],
)
def test_a_missing_label_column(name, expected):
    lines("a.txt", WORDS)
    json_lines("a.jsonl", [{"text": text, "labels": 1} for text in WORDS])
    assert error(name, label_column="label").startswith(expected)
    notice = f"no column 'label' in {name}: going on without labels"
    corpus = load(name, label_column="label", label_is_optional=True)
    assert corpus.notices[0] == notice
    assert corpus.splits["train"].column_names == ["text"]


def test_a_label_column_that_only_some_files_have():
    json_lines("data/train.jsonl", [{"text": text, "label": 1} for text in WORDS])
    json_lines("data/valid.jsonl", [{"text": "a"}])
    json_lines("data/test.jsonl", [{"text": "b", "label": 1}])
    assert error("data", label_column="label").startswith("data/valid.jsonl, line 1: no column 'label'")
    corpus = load("data", label_is_optional=True, label_column="label")
    assert corpus.notices[0] == "no column 'label' in data/valid.jsonl: going on without labels"
    assert {tuple(split.column_names) for split in corpus.splits.values()} == {("text",)}


def test_an_optional_label_column_that_is_there_is_used():
    json_lines("a.jsonl", [{"text": text, "label": 1} for text in WORDS])
    assert load("a.jsonl", label_is_optional=True, label_column="label").splits["test"]["label"][:2] == ["1", "1"]


# ---- On disk, once ----


def reads(monkeypatch):
    """Counts the files that are read."""
    seen, read = [], module.read_texts
    monkeypatch.setattr(module, "read_texts", lambda path, *rest: seen.append(path) or read(path, *rest))
    return seen


def test_an_unchanged_file_is_read_once_and_a_changed_one_again(monkeypatch):
    seen = reads(monkeypatch)
    lines("a.txt", WORDS)
    first = contents(load("a.txt"))
    assert contents(load("a.txt")) == first
    assert len(seen) == 1
    # Of the same size and with the time of before.
    stat = os.stat("a.txt")
    lines("a.txt", [text.upper() for text in WORDS])
    os.utime("a.txt", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert contents(load("a.txt")) == {name: [text.upper() for text in texts] for name, texts in first.items()}
    assert len(seen) == 2
    json_lines("b.jsonl", [{"text": text, "other": text[::-1]} for text in WORDS])
    assert contents(load("b.jsonl")) == first
    assert contents(load("b.jsonl", text_column="other"))["test"] == [text[::-1] for text in first["test"]]
    assert len(seen) == 4


def test_an_interrupted_reading_leaves_nothing_behind(monkeypatch):
    lines("a.txt", WORDS)

    def interrupted(*_):
        yield {"text": "half"}
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "read_texts", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load("a.txt")
    assert sum(map(len, load("a.txt").splits.values())) == 40


def test_texts_stay_on_disk():
    lines("a.txt", [f"{text} {'x' * 100}" for text in WORDS * 1000])
    before = pa.total_allocated_bytes()
    corpus = load("a.txt")
    assert pa.total_allocated_bytes() - before < 1_000_000
    for split in corpus.splits.values():
        assert Path(split.cache_files[0]["filename"]).is_file()


def test_memory_does_not_grow_with_the_corpus():
    """What grows is a few numbers for each text, far less than the texts."""
    peaks, sizes = [], []
    load("sample:quatrains")
    for count in (20_000, 60_000):
        lines("a.txt", (f"text {number} {'x' * 200}" for number in range(count)))
        tracemalloc.start()
        load("a.txt")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        sizes.append(os.path.getsize("a.txt"))
    assert peaks[1] - peaks[0] < (sizes[1] - sizes[0]) / 5


# ---- The Hub ----

STORIES = {
    "train": [("one", 0), ("two\r\n", 1), (None, 1), ("  ", 0), ("three\n\nfour", -1)],
    "dev": [("five", 1)],
    "test": [("six", 0), ("one", 1)],
}


@pytest.fixture
def hub(monkeypatch):
    """The Hub's answers: a function that sets its data set, which also gives the list of what was asked for."""

    def serve(splits=STORIES, label=None):
        features = Features({"story": Value("string"), "mood": label or ClassLabel(names=["sad", "glad"])})
        for name, rows in splits.items():
            columns = {"story": [row[0] for row in rows], "mood": [row[1] for row in rows]}
            Dataset.from_dict(columns, features).to_parquet(f"hub-{name}.parquet")
        asked = []

        def load_dataset(source, config, revision, split):
            asked.append((source, config, revision))
            files = {name: f"hub-{name}.parquet" for name in splits}
            return datasets.load_dataset("parquet", data_files=files, split=split)

        monkeypatch.setattr(module, "load_dataset", load_dataset)
        return asked

    return serve


def test_hub(hub):
    asked = hub()
    corpus = load("someone/stories", config="short", revision="v2", text_column="story", label_column="mood")
    assert asked == [("someone/stories", "short", "v2")]
    assert corpus.splits["train"].to_list() == [
        {"text": "one", "label": "sad"},
        {"text": "two", "label": "glad"},
        {"text": "three\n\nfour", "label": None},
    ]
    assert contents(corpus)["validation"] == ["five"]
    assert contents(corpus)["test"] == ["six", "one"]
    assert corpus.notices == ["train: 2 blank texts dropped", "1 of 2 test texts also stand in train"]
    assert corpus.splits["train"].cache_files


def test_hub_paragraphs(hub):
    hub()
    corpus = load("stories", text_column="story", label_column="mood", unit="paragraph")
    assert contents(corpus)["train"] == ["one", "two", "three", "four"]
    assert corpus.splits["train"]["label"][:] == ["sad", "glad", None, None]


def test_hub_one_split(hub):
    hub({"train": [("a", 0)], "everything": [(text, 0) for text in WORDS]})
    corpus = load("stories", split="everything", text_column="story")
    assert sorted(itertools.chain(*contents(corpus).values())) == sorted(WORDS)
    assert corpus.notices[0].startswith("the corpus has no validation (2 texts) and test (2 texts)")


@pytest.mark.parametrize(("split", "count"), [("everything[:10]", 10), ("train+everything", 41)])
def test_hub_a_part_of_its_splits(hub, split, count):
    hub({"train": [("a", 0)], "everything": [(text, 0) for text in WORDS]})
    assert sum(map(len, load("stories", split=split, text_column="story").splits.values())) == count


@pytest.mark.parametrize(("label", "values"), [(Value("int64"), ["3", None]), (Value("string"), ["x y", "None"])])
def test_hub_labels_that_are_no_classes(hub, label, values):
    raw = [int(v) if v and v.isdigit() else v for v in values]
    hub({"train": [("a", raw[0]), ("b", raw[1])], "valid": [("c", raw[0])], "test": [("d", raw[1])]}, label)
    corpus = load("stories", text_column="story", label_column="mood")
    assert corpus.splits["train"]["label"][:] == values


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "data.text_column: stories has no column 'text'; known: mood, story"),
        (
            {"text_column": "stories"},
            "data.text_column: stories has no column 'stories'; did you mean 'story'? known: ",
        ),
        ({"text_column": "mood"}, "data.text_column: 'mood' of stories holds int64, not texts"),
        (
            {"text_column": "story", "label_column": "moods"},
            "data.label_column: stories has no column 'moods'; did you mean 'mood'? known: mood, story",
        ),
        ({"text_column": "story", "split": "tset"}, "data.split: stories has no split 'tset'; did you mean 'test'? "),
    ],
)
def test_hub_columns_and_splits_that_are_not_there(hub, options, expected):
    hub()
    assert error("stories", **options).startswith(expected)


def test_hub_optional_label(hub):
    hub()
    corpus = load("stories", label_is_optional=True, text_column="story", label_column="topic")
    assert corpus.notices[0] == "no column 'topic' in stories: going on without labels"
    assert corpus.splits["train"].column_names == ["text"]


def test_hub_without_a_train_split(hub):
    hub({"everything": [("a", 0)]})
    assert (
        error("stories", text_column="story")
        == "data.source: stories has no train split; name one of everything in data.split"
    )


def test_hub_without_texts(hub):
    hub({"train": [("a", 0), ("b", 0)], "valid": [(" ", 0)]})
    assert error("stories", text_column="story") == "stories, validation: no texts in it, only 1 blank ones"


@pytest.mark.parametrize("name", ["nobody/nothing", "nothing", "a/b/c", "no body"])
def test_a_name_that_is_nothing(name):
    assert error(name).startswith(f"data.source: {name!r} is no file or folder here, and the Hub gives none: ")


@pytest.mark.parametrize("kind", [RuntimeError, KeyError, datasets.exceptions.DatasetGenerationError])
def test_whatever_the_hub_raises_is_one_line(monkeypatch, kind):
    def fail(*args, **options):
        raise kind("first\n\n  second")

    monkeypatch.setattr(module, "load_dataset", fail)
    assert "here, and the Hub gives none: " in error("stories")


def test_a_fingerprint_is_that_of_the_texts_in_order():
    def of(texts):
        return fingerprint(Dataset.from_dict({"text": texts}))

    assert of(["a", "b"]) == of(["a", "b"])
    assert len({of(texts) for texts in (["a", "b"], ["b", "a"], ["ab"], ["a", "b", "b"], ["a"], ["a", "1:b"])}) == 6
