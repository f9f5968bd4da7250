"""What commands share; the rest of it is tested through them."""

import io
import logging

import pytest

from textvae.cli import common, main


@pytest.fixture
def notices(capsys):
    """The package's logger, put back after the test, and what has been shown."""
    logger = logging.getLogger("textvae")
    before = (logger.handlers, logger.level, logger.propagate)
    common.NOTICES.buffer.clear()
    yield logger, lambda: capsys.readouterr().err
    common.NOTICES.buffer.clear()
    logger.handlers, logger.level, logger.propagate = before


def test_notices_wait_until_the_command_is_under_way(notices):
    logger, shown = notices
    common.quiet()
    logger.info("one")
    assert shown() == ""
    common.under_way()
    assert shown() == "one\n"
    logger.info("two")
    assert shown() == "two\n"
    common.quiet()
    logger.info("three")
    assert shown() == ""


def test_warnings_do_not_wait(notices):
    logger, shown = notices
    common.quiet()
    logger.info("one")
    logger.warning("two")
    assert shown() == "one\nwarning: two\n"


def test_setting_up_twice_says_nothing_twice(notices):
    logger, shown = notices
    common.quiet()
    common.quiet()
    logger.warning("once")
    assert shown() == "warning: once\n"


@pytest.mark.parametrize(
    ("text", "mark", "expected"),
    [("one", "-> ", "-> one"), ("one\ntwo", "-> ", "-> one\n   two"), ("one\n\ntwo", "", "one\n\ntwo")],
)
def test_indent(text, mark, expected):
    assert common.indent(text, mark) == expected


def test_metrics_as_a_table(capsys):
    common.print_metrics({"split": "test", "nll": 1 / 3, "rate": None, "tokens": 12, "bleu_signature": "x" * 100})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["split", "test"],
        ["nll", "0.3333"],
        ["tokens", "12"],
        ["bleu_signature", "x" * 100],
    ]


@pytest.mark.parametrize(
    ("pairs", "named", "expected"),
    [
        (None, {}, {}),
        (None, {"temperature": None}, {}),
        (["num_beams=3"], {}, {"num_beams": 3}),
        (["temperature=0.5"], {}, {"do_sample": True, "num_beams": 1, "temperature": 0.5}),
        (["temperature=0.5", "num_beams=2"], {}, {"do_sample": True, "num_beams": 2, "temperature": 0.5}),
        (["top_p=1e-1", "top_p=0.3"], {}, {"do_sample": True, "num_beams": 1, "top_p": 0.3}),
        (["do_sample=false"], {"top_p": 0.5}, {"do_sample": False, "num_beams": 1, "top_p": 0.5}),
        (["allow_unknown=true"], {}, {"allow_unknown": True}),
        (["min_p=null"], {}, {"do_sample": True, "num_beams": 1, "min_p": None}),
    ],
)
def test_decoding(pairs, named, expected):
    assert common.decoding(pairs, **named) == expected


@pytest.mark.parametrize(("chosen", "encoding"), [(None, "utf-8"), ("cp1252", "cp1252")])
def test_files_and_pipes_get_utf8(monkeypatch, chosen, encoding):
    """Wherever the machine would write its own, unless somebody has asked for that."""
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    if chosen:
        monkeypatch.setenv("PYTHONIOENCODING", chosen)
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr("sys.stdout", stream)
    main._write_utf8()
    stream.write("春眠")
    stream.flush()
    assert (stream.encoding, stream.buffer.getvalue()) == (encoding, "春眠".encode() if not chosen else b"??")


def test_without_stdin(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(ValueError, match="give texts as arguments or lines on stdin"):
        common.texts_from(None)


def test_what_is_no_number_is_no_json():
    with pytest.raises(ValueError, match="not JSON compliant"):
        common.print_json({"a": float("nan")})
