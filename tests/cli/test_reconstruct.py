"""`textvae reconstruct`."""

import pytest

from textvae import TextVAE

TEXTS = ["the cat sees something at dawn", "the moon waits something by the sea", "the dog sings"]


@pytest.fixture(scope="module")
def copies(trained):
    return TextVAE.from_pretrained(trained.folder).reconstruct(TEXTS)


def test_lines(textvae, trained, copies):
    result = textvae("reconstruct", trained.folder, *TEXTS)
    assert (result.code, result.err) == (0, "")
    expected = [line for text, copy in zip(TEXTS, copies, strict=True) for line in (text, f"  -> {copy}")]
    assert result.out.splitlines() == expected


@pytest.mark.parametrize("arguments", [[], ["-"]])
@pytest.mark.parametrize("stdin", ["{}\n{}\n{}\n", "{}\r\n\n{}\n  \n{}"])
def test_texts_from_stdin(textvae, trained, copies, arguments, stdin):
    """A text a line; blank lines are none."""
    result = textvae("reconstruct", trained.folder, *arguments, "--json", stdin=stdin.format(*TEXTS))
    assert result.json == {"originals": TEXTS, "reconstructions": copies}


def test_refined(textvae, trained, copies):
    result = textvae("reconstruct", trained.folder, *TEXTS, "--refine", 60, "--json")
    vae = TextVAE.from_pretrained(trained.folder)
    assert result.json["reconstructions"] == vae.reconstruct(TEXTS, refine=60)
    assert result.json["reconstructions"] != copies
    assert textvae("reconstruct", trained.folder, *TEXTS, "--refine", -1).code == 2


def test_a_text_of_several_lines(textvae, trained, monkeypatch):
    monkeypatch.setattr(TextVAE, "reconstruct", lambda self, texts, **options: ["one\ntwo"])
    assert textvae("reconstruct", trained.folder, "ONE\nTWO").out == "ONE\nTWO\n  -> one\n     two\n"


def test_several_copies_of_each(textvae, trained):
    result = textvae("reconstruct", trained.folder, *TEXTS, "--set", "num_beams=3", "--set", "num_return_sequences=2")
    lines = result.out.splitlines()
    assert lines[::3] == TEXTS
    assert all(line.startswith("  -> ") for number, line in enumerate(lines) if number % 3)


def test_seed_repeats(textvae, trained):
    runs = [
        textvae("reconstruct", trained.folder, *TEXTS, "--set", "temperature=4", "--seed", seed).out
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        ([], None, "TEXT: give texts as arguments or lines on stdin"),
        ([], "", "TEXT: stdin held no text"),
        ([], "\n  \n", "TEXT: stdin held no text"),
        ([], b"caf\xe9\n", "stdin: not UTF-8 (byte 3)"),
        ([" "], "", "text 1 of 1 is blank"),
        (["the cat", ""], "", "text 2 of 2 is blank"),
    ],
)
def test_mistakes(textvae, trained, arguments, stdin, message):
    result = textvae("reconstruct", trained.folder, *arguments, stdin=stdin)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {message}")
    assert len(result.err.splitlines()) == 1
