"""`textvae interpolate`."""

import pytest

from textvae import TextVAE
from textvae.cli.interpolate import path_lines

A, B = "the cat sees something at dawn", "the moon waits something by the sea"


@pytest.fixture(scope="module")
def vae(trained):
    return TextVAE.from_pretrained(trained.folder)


def test_lines(textvae, trained, vae):
    """The originals above; the ends of the path are their reconstructions."""
    result = textvae("interpolate", trained.folder, A, B)
    assert (result.code, result.err) == (0, "")
    above_a, above_b, blank, *path = result.out.splitlines()
    assert (above_a, above_b, blank) == (f"from: {A}", f"to:   {B}", "")
    assert path == [f"{number}  {text}" for number, text in enumerate(vae.interpolate(A, B, 7), 1)]
    assert [path[0][3:], path[-1][3:]] == vae.reconstruct([A, B])


@pytest.mark.parametrize("method", ["slerp", "lerp"])
@pytest.mark.parametrize("steps", [2, 5])
def test_json(textvae, trained, vae, method, steps):
    result = textvae("interpolate", trained.folder, A, B, "--steps", steps, "--method", method, "--json")
    assert result.json == {"a": A, "b": B, "method": method, "steps": vae.interpolate(A, B, steps, method)}


def test_refined_ends(textvae, trained, vae):
    result = textvae("interpolate", trained.folder, A, B, "--refine", 60, "--json")
    assert result.json["steps"] == vae.interpolate(A, B, refine=60)
    assert result.json["steps"] != vae.interpolate(A, B)


def test_texts_from_stdin(textvae, trained):
    assert textvae("interpolate", trained.folder, stdin=f"{A}\n{B}\n") == textvae("interpolate", trained.folder, A, B)


def test_seed_repeats(textvae, trained):
    runs = [
        textvae("interpolate", trained.folder, A, B, "--set", "temperature=4", "--seed", seed) for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        ([A], "", "error: A B: wanted 2 texts, got 1"),
        ([A, B, A], "", "error: A B: wanted 2 texts, got 3"),
        ([], f"{A}\n", "error: A B: wanted 2 texts, got 1"),
        ([], None, "error: TEXT: give texts as arguments or lines on stdin"),
        ([A, ""], "", "error: text 1 of 1 is blank"),
    ],
)
def test_mistakes(textvae, trained, arguments, stdin, message):
    result = textvae("interpolate", trained.folder, *arguments, stdin=stdin)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(message)
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize("options", [["--steps", "1"], ["--method", "arc"]])
def test_values_out_of_range(textvae, trained, options):
    result = textvae("interpolate", trained.folder, A, B, *options)
    assert (result.code, result.out) == (2, "")


def test_numbers_and_lines_stand_under_each_other():
    lines = path_lines("a\nb", "c", [f"text {n}\nmore" for n in range(10)]).splitlines()
    assert lines[:5] == ["from: a", "      b", "to:   c", "", " 1  text 0"]
    assert lines[5] == "    more"
    assert lines[-2] == "10  text 9"
