"""report.html: one file that needs nothing else."""

import base64
import re
from html.parser import HTMLParser

import pytest

from textvae.training.page import report_page

METRICS = {"split": "validation", "nll": 12.34567, "rate": None, "rate_per_dimension": [0.1, 2.0], "sentences": 7}
HISTORY = [
    {"step": 1, "loss": 9.0, "distortion": 8.0, "rate": 1.0, "beta": 0.5},
    {"step": 2, "eval_nll": 9.0, "eval_distortion": 7.0, "eval_rate": 2.0, "eval_active_units": 3},
]


class Page(HTMLParser):
    """Collects tags, their attributes and the text; objects to a tag that is not closed."""

    VOID = ("meta", "img", "br")

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def page(**changes):
    arguments = {
        "title": "run",
        "metrics": METRICS,
        "history": HISTORY,
        "samples": ["a sample", "two\nlines"],
        "reconstructions": [("a text", "a copy")],
        "path": ("first", "last", ["one", "two", "three"]),
    }
    return report_page(**arguments | changes)


def test_of_a_run(trained):
    source = (trained.folder / "report.html").read_text(encoding="utf-8")
    found = Page(source)
    assert f"{trained.metrics['nll']:.4f}" in found.text
    assert trained.metrics["bleu_signature"] in found.text
    samples = trained.vae.sample(50, seed=3)
    validation = trained.splits["validation"]["text"][:8]
    shown = samples[:20] + validation + trained.vae.reconstruct(validation)
    assert all(text in found.text for text in shown + trained.vae.interpolate(validation[0], validation[-1]))


def test_needs_no_network_and_no_other_file():
    found = Page(page())
    assert not re.search(r"https?:|//|url\(|@import", re.sub(r"base64,[^\"]*", "", page()).replace("</", ""))
    assert {tag for tag, _ in found.tags}.isdisjoint({"script", "link", "iframe"})
    [image] = [attributes["src"] for tag, attributes in found.tags if tag == "img"]
    kind, data = image.split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data, validate=True).startswith(b"\x89PNG\r\n\x1a\n")


def test_says_everything():
    text = Page(page()).text
    for words in ("run", "nll", "12.3457", "sentences", "two\nlines", "a text", "a copy", "first", "last", "three"):
        assert words in text
    assert not re.search(r"\brate\b", text)  # which is null
    assert "0.1000 to 2.0000, mean 1.0500" in text


def test_texts_are_no_markup():
    found = Page(page(samples=["<script>alert('&')</script>"], title="<b>", path=("<i>", "&amp;", ["</ol>"])))
    assert {tag for tag, _ in found.tags}.isdisjoint({"script", "b", "i"})
    assert all(text in found.text for text in ("<script>alert('&')</script>", "<b>", "<i>", "&amp;", "</ol>"))


@pytest.mark.parametrize("history", [[], HISTORY[:1], HISTORY[1:]])
@pytest.mark.parametrize("rate_per_dimension", [None, [1.0]])
def test_panels_without_numbers_are_left_out(history, rate_per_dimension):
    """A short run has no evaluation yet, a language model no rate."""
    metrics = METRICS | {"rate_per_dimension": rate_per_dimension}
    source = page(history=history, metrics=metrics, reconstructions=[], path=None)
    text = Page(source).text
    assert "Reconstructions" not in text
    assert "Interpolation" not in text
    assert ("<img" in source) is bool(history or rate_per_dimension)
