"""Texts on disk: exact, without blank ones, written once for a key."""

import pytest

from textvae.data import storage
from textvae.data.storage import store


def untouchable():
    raise AssertionError("read again")
    yield


@pytest.mark.parametrize("at_once", [1, 2, 10_000])
@pytest.mark.parametrize("characters", [3, 1 << 24])
def test_rows_come_back_in_order_without_blank_ones(monkeypatch, at_once, characters):
    monkeypatch.setattr(storage, "TEXTS", at_once)
    monkeypatch.setattr(storage, "CHARACTERS", characters)
    rows = [{"text": text, "label": label} for text, label in zip(["a", "", "bb", "山🙂", ""], "uvwxy", strict=True)]
    rows.append({"text": "c", "label": None})
    texts, blank = store(iter(rows), True, ["order", at_once, characters], "train")
    assert texts.to_list() == [row for row in rows if row["text"]]
    assert blank == 2
    again, blank = store(untouchable(), True, ["order", at_once, characters], "train")
    assert again.to_list() == texts.to_list()
    assert blank == 2


def test_another_key_is_another_corpus():
    for key in (["a", 1], ["a", 2], ["a", (1,)]):
        texts, _ = store([{"text": repr(key)}], False, key, "train")
        assert texts.to_list() == [{"text": repr(key)}]


def test_no_rows():
    texts, blank = store([], True, "nothing", "train")
    assert (len(texts), texts.column_names, blank) == (0, ["text", "label"], 0)


def test_a_failure_leaves_nothing_that_looks_whole():
    def rows():
        yield {"text": "a"}
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        store(rows(), False, "failure", "train")
    assert store([{"text": "b"}], False, "failure", "train")[0].to_list() == [{"text": "b"}]
