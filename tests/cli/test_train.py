"""`textvae train`: a run from the command line, and every mistake in at most three lines, with nothing left behind."""

import json
import subprocess
import sys

import pytest
import yaml

from tests.tiny import RECIPE
from textvae.cli.doctor import diagnosis_lines

SHORT = ["training.max_steps=4", "training.eval_steps=2", "training.save_steps=2", "training.logging_steps=1"]


@pytest.fixture
def recipe(tmp_path, corpus_file, monkeypatch):
    """A recipe file in a folder of its own, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    values = RECIPE | {"data": {"source": str(corpus_file)}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return tmp_path / "tiny.yaml"


def test_a_run(textvae, recipe, tmp_path):
    """The numbers on stdout, what happens on stderr, the run in runs/ under the recipe's name."""
    result = textvae("train", recipe, *SHORT)
    assert result.code == 0
    metrics = json.loads((tmp_path / "runs" / "tiny" / "metrics.json").read_text())
    table, diagnosis, place = result.out.split("\n\n")
    assert dict(line.split(maxsplit=1) for line in table.splitlines())["nll"] == f"{metrics['nll']:.4f}"
    found = json.loads((tmp_path / "runs" / "tiny" / "doctor.json").read_text())
    assert diagnosis.splitlines() == diagnosis_lines(found)
    assert place == "run: runs/tiny\n"
    lines = result.err.splitlines()
    assert lines[0] == "the corpus has no validation (14 texts) and test (14 texts): cut from train with seed 0"
    assert [line.split("  ")[0] for line in lines if "validation:" in line] == ["step 2/4", "step 4/4"]
    assert lines[-1].startswith("best checkpoint: step ")


def test_json_resume_overwrite(textvae, recipe, tmp_path):
    """An existing run is never overwritten unless asked for; --json prints one object."""
    folder = tmp_path / "elsewhere" / "run"
    arguments = ["train", recipe, *SHORT, f"output_dir={folder}", "--json"]
    first = textvae(*arguments).json
    assert first == json.loads((folder / "metrics.json").read_text())
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    refused = textvae(*arguments)
    assert (refused.code, refused.out) == (2, "")
    assert f"output_dir: {folder} holds a run" in refused.err
    assert len(refused.err.splitlines()) == 1
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    resumed = textvae(*arguments, "training.max_steps=6", "--resume").json
    assert (folder / "checkpoints" / "checkpoint-6").is_dir()
    assert resumed["nll"] != first["nll"]
    assert textvae(*arguments, "--overwrite").json | {"seconds": 0} == first | {"seconds": 0}
    assert not (folder / "checkpoints" / "checkpoint-6").exists()


# What is wrong: overrides, files to make first (text or bytes by name), and the words that must be in the message.
MISTAKES = {
    "misspelt key": (
        ["training.learning_rat=1"],
        {},
        "training.learning_rat: unknown key; did you mean 'learning_rate'",
    ),
    "misspelt section": (["trainig.seed=1"], {}, "trainig: unknown section; did you mean 'training'"),
    "wrong type": (["training.max_steps=many"], {}, "training.max_steps: 'many' is not allowed"),
    "wrong kind": (["model.encoder.kind=recurent"], {}, "model.encoder"),
    "out of range": (["model.decoder.dropout=1.5"], {}, "model.decoder.dropout: 1.5 is not allowed"),
    "negative steps": (["training.max_steps=-5"], {}, "training.max_steps: -5 is not allowed"),
    "no value": (["training.max_steps"], {}, "an override reads section.key=value"),
    "missing file": (["data.source=no.txt"], {}, "data.source: no such file or folder: no.txt"),
    "missing column": (
        ["data.source=a.csv"],
        {"a.csv": "title,label\na cat,1\n" * 9},
        "a.csv, line 2: no column 'text'",
    ),
    "missing label": (
        ["data.source=a.csv", "data.label_column=topic"],
        {"a.csv": "text,label\na cat,1\n"},
        "a.csv, line 2: no column 'topic'",
    ),
    "Latin-1": (["data.source=a.txt"], {"a.txt": b"a cat\na caf\xe9\n"}, "a.txt, line 2: not UTF-8 (byte 0xe9"),
    "empty file": (["data.source=a.txt"], {"a.txt": ""}, "a.txt: the file is empty"),
    "blank file": (["data.source=a.txt"], {"a.txt": "\n \n"}, "a.txt: no texts in it, only 2 blank ones"),
    "broken JSON": (["data.source=a.jsonl"], {"a.jsonl": '{"text": "a"}\n{"text": \n'}, "a.jsonl, line 2: broken JSON"),
    "unknown ending": (["data.source=a.doc"], {"a.doc": "a cat"}, "unknown ending"),
    "small corpus": (["data.source=a.txt"], {"a.txt": "a cat\n\na dog\n" * 9}, "fewer than one batch of 32"),
    "tiny corpus": (["data.source=a.txt"], {"a.txt": "a cat\n"}, "too few texts (1)"),
    "a file for a run": (["output_dir=a.txt"], {"a.txt": "precious"}, "output_dir: a.txt is a file"),
    "a folder without a run": (["output_dir=b"], {"b/a.txt": "precious"}, "b is not empty and holds no run"),
    "below a file": (["output_dir=a.txt/run"], {"a.txt": "precious"}, "a.txt"),
    "init from nothing": (["training.init_from=no"], {}, "training.init_from: no is not a run"),
    "missing library": (["training.optim=adamw_bnb_8bit"], {}, "bitsandbytes"),
    "nothing to resume": (["--resume"], {}, "--resume: there is no run in runs/tiny"),
    "resume and overwrite": (["--resume", "--overwrite"], {}, "choose one"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(textvae, recipe, tmp_path, name):
    overrides, files, words = MISTAKES[name]
    for file, content in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    result = textvae("train", recipe, *overrides)
    assert (result.code, result.out) == (2, "")
    lines = result.err.splitlines()
    assert words in lines[-1]
    assert lines[-1].startswith("error: ")
    assert len(lines) <= 3
    if name == "missing library":  # which shows when training begins: the folder of runs has been made by then
        (tmp_path / "runs").rmdir()
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such recipe: tiny.yaml"),
        ("", "tiny.yaml: the file is empty"),
        ("data: {source: [}", "tiny.yaml, line 1: broken YAML"),
        ("- data", "a list is no recipe"),
        (b"data: {source: caf\xe9}", "tiny.yaml, line 1: not UTF-8"),
    ],
)
def test_recipes_that_are_none(textvae, recipe, tmp_path, content, words):
    recipe.unlink()
    if content is not None:
        recipe.write_bytes(content if isinstance(content, bytes) else content.encode())
    result = textvae("train", "tiny.yaml")
    assert (result.code, result.out) == (2, "")
    assert words in result.err
    assert len(result.err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_notices_do_not_bury_the_mistake(textvae, recipe, tmp_path):
    """Blank texts, made splits and duplicates are notices, which nobody needs who made a mistake."""
    (tmp_path / "a.txt").write_text("a cat\n\na cat\na dog\n" * 5)
    result = textvae("train", recipe, "data.source=a.txt")
    assert len(result.err.splitlines()) == 1


def test_in_a_process_of_its_own(recipe, tmp_path):
    """With all that libraries say when they are imported."""
    (tmp_path / "a.txt").write_bytes(b"caf\xe9\n" * 99)
    program = "import sys; from textvae.cli.main import main; sys.argv[0] = 'textvae'; main()"
    command = [sys.executable, "-c", program, "train", str(recipe), "data.source=a.txt"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: a.txt, line 1: not UTF-8")
    assert len(result.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "tiny.yaml"]


def test_interrupted(textvae, recipe, tmp_path, monkeypatch):
    """Ctrl-C says how to go on, and --resume does."""
    from textvae.training.trainer import TextVAETrainer

    step = TextVAETrainer.training_step

    def stop(self, *args, **kwargs):
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(TextVAETrainer, "training_step", stop)
        result = textvae("train", recipe, *SHORT)
    assert (result.code, result.out) == (130, "")
    assert result.err.splitlines()[-1] == "stopped; the same command with --resume goes on from the last checkpoint"
    assert not (tmp_path / "runs" / "tiny" / "config.json").exists()
    assert textvae("train", recipe, *SHORT, "--resume").code == 0
    assert (tmp_path / "runs" / "tiny" / "config.json").is_file()


def test_interrupted_before_there_is_anything_to_go_on_from(textvae, recipe, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("textvae.training.run.load_corpus", stop)
    result = textvae("train", recipe, *SHORT)
    assert result.code == 130
    assert result.err.splitlines()[-1] == "stopped; nothing was begun"
    assert not (tmp_path / "runs").exists()


def test_interrupted_before_a_checkpoint_or_where_another_run_stood(textvae, recipe, tmp_path, monkeypatch):
    from textvae.training.trainer import TextVAETrainer

    step = TextVAETrainer.training_step

    def stop(self, *args, **kwargs):
        if self.state.global_step == 1:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    monkeypatch.setattr(TextVAETrainer, "training_step", stop)
    result = textvae("train", recipe, *SHORT, "training.save_steps=0.5")
    told = "stopped; no checkpoint is there yet: the same command with --resume starts again"
    assert result.err.splitlines()[-1] == told
    result = textvae("train", recipe, *SHORT, "--overwrite")
    assert "is as it was, or holds what the new run has done" in result.err.splitlines()[-1]


def test_divergence(textvae, recipe):
    result = textvae("train", recipe, *SHORT, "training.learning_rate=1e30", "training.max_grad_norm=0")
    assert result.code == 2
    assert result.err.splitlines()[-1].startswith("error: training has diverged: nll is nan at step 2; lower training.")
