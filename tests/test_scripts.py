"""The scripts: the same as the commands, by public names only."""

import ast
import json
import runpy
import sys
from pathlib import Path

import pytest
import yaml

import textvae
from tests.tiny import RECIPE

SCRIPTS = Path(textvae.__file__).parents[1] / "scripts"


@pytest.fixture
def script(monkeypatch, capsys):
    """Runs a script in this process; gives what it printed."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capsys.readouterr()
        runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", ["train.py", "sample.py", "interpolate.py", "evaluate.py"])
def test_thin(name):
    """Few lines, and nothing of textvae but its public names."""
    path = SCRIPTS / name
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 40
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and "textvae" in node.module]
    assert [node.module for node in imported] == ["textvae"]
    assert {alias.name for node in imported for alias in node.names} <= set(textvae.__all__)
    assert path.name in ast.get_docstring(tree)


def test_sample(script, trained):
    printed = script("sample.py", trained.folder, "--number", 3, "--seed", 1, "--z-scale", 0.7)
    assert printed.splitlines() == trained.vae.sample(3, seed=1, z_scale=0.7)


def test_interpolate(script, trained):
    a, b = "the cat sees something at dawn", "the moon waits something by the sea"
    printed = script("interpolate.py", trained.folder, a, b, "--steps", 4, "--method", "lerp")
    assert printed.splitlines() == [f"from: {a}", f"to:   {b}", "", *trained.vae.interpolate(a, b, 4, "lerp")]


def test_evaluate(script, trained, corpus_file):
    metrics = json.loads(script("evaluate.py", trained.folder, "--split", "test", "--samples", 2))
    assert (metrics["split"], metrics["iw_samples"]) == ("test", 2)
    other = json.loads(script("evaluate.py", trained.folder, f"data.source={corpus_file}", "--samples", 1))
    assert other["sentences"] == trained.metrics["sentences"]


def test_train(script, corpus_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    arguments = ["tiny.yaml", f"data.source={corpus_file}", "training.max_steps=2", "output_dir=here"]
    printed = script("train.py", *arguments)
    assert printed.splitlines()[-1] == "run: here"
    assert json.loads((tmp_path / "here" / "metrics.json").read_text())["sentences"] == 14
    with pytest.raises(ValueError, match="holds a run"):
        script("train.py", *arguments)
    script("train.py", *arguments, "--overwrite")
    script("train.py", *arguments, "--resume")


def test_draw_collapse(script, trained, tmp_path):
    script("draw_collapse.py", trained.folder, trained.folder, "--output", tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
