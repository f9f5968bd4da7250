"""The command itself: help at once, mistakes in one line."""

import re
import resource
import subprocess
import sys

import pytest

COMMANDS = ["quickstart", "train", "evaluate", "doctor", "sample", "reconstruct", "interpolate", "encode", "decode"]
COMMANDS.append("fit-prior")

# Prints what was imported after the help.
PROGRAM = """
import sys
from textvae.cli.main import main
sys.argv = ["textvae", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code
print("imported:", *sorted({name.split(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=["all", *COMMANDS])
def test_help_comes_at_once(command):
    """In less than a second of processor time, without the libraries that take several to import."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command, "--help"], capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
    text, imported = shown.stdout.split("imported:")
    assert "Usage: textvae" in text
    assert {"torch", "transformers", "datasets", "numpy", "matplotlib"}.isdisjoint(imported.split())
    if not command:
        assert all(name in text for name in COMMANDS)


def test_without_a_command(textvae):
    result = textvae()
    assert result.code == 2
    assert re.search(r"Usage: .*textvae", result.out + result.err)


@pytest.mark.parametrize(
    "arguments",
    [["trian"], ["train"], ["sample"], ["sample", "run", "-n", "0"], ["sample", "run", "--sed", "1"], ["evaluate"]],
    ids=" ".join,
)
def test_misuse(textvae, arguments):
    result = textvae(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["sample"],
        ["reconstruct", "the cat"],
        ["interpolate", "the cat", "the moon"],
        ["encode", "IN", "z.npy"],
        ["decode", "z.npy", "-"],
        ["evaluate"],
        ["doctor"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_no_such_run(textvae, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "in.txt").write_text("the cat\n")
    import numpy

    numpy.save(tmp_path / "z.npy", numpy.zeros((1, 8)))
    command, *rest = ["in.txt" if argument == "IN" else argument for argument in arguments]
    result = textvae(command, "runs/headlnes", *rest)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert "runs/headlnes" in result.err
    assert len(result.err.splitlines()) == 1


def test_a_reader_that_goes_away(trained):
    """`textvae sample ... | head -1` ends without a word."""
    program = "from textvae.cli.main import main; import sys; sys.argv[0] = 'textvae'; main()"
    arguments = ["sample", str(trained.folder), "-n", "5000", "--greedy"]
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode
