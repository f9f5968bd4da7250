"""`textvae evaluate`."""

import json
import shutil

import pytest

from textvae.evaluation.report import KEYS


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run, which evaluation writes into."""
    return shutil.copytree(trained.folder, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))


def test_table_and_file(textvae, run):
    result = textvae("evaluate", run, "--split", "test", "--samples", 3, "--fp32")
    assert result.code == 0
    metrics = json.loads((run / "metrics-test.json").read_text())
    assert list(metrics) == list(KEYS)
    assert (metrics["split"], metrics["iw_samples"]) == ("test", 3)
    table = dict(line.split(maxsplit=1) for line in result.out.splitlines())
    assert list(table) == list(KEYS)
    assert table["nll"] == f"{metrics['nll']:.4f}"
    assert table["bleu_signature"] == metrics["bleu_signature"]


def test_validation_replaces_the_numbers_of_training(textvae, run):
    result = textvae("evaluate", run, "--samples", 5, "--json", "--fp32")
    assert result.json == json.loads((run / "metrics.json").read_text())
    assert result.json["iw_samples"] == 5


def test_curve(textvae, run):
    """A small table below the others, and the same numbers in the file."""
    table, curve = textvae("evaluate", run, "--samples", 12, "--curve").out.split("\n\n")
    metrics = json.loads((run / "metrics.json").read_text())
    head, *rows = curve.splitlines()
    assert head == "samples     iw_nll"
    assert [row.split()[:2] for row in rows] == [[str(k), f"{metrics[f'iw_nll_k{k}']:.4f}"] for k in (1, 10, 12)]
    assert rows[1].split()[2] == f"{metrics['iw_nll_k10'] - metrics['iw_nll_k1']:+.4f}"
    assert f"iw_nll_k10              {metrics['iw_nll_k10']:.4f}" in table


def test_another_corpus_leaves_the_run_as_it_is(textvae, run, tmp_path):
    (tmp_path / "other.txt").write_text("the cat sees something\n" * 30)
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    result = textvae("evaluate", run, f"data.source={tmp_path / 'other.txt'}", "--samples", 1, "--json")
    assert result.json["sentences"] == 2
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_nearest_training_lines(textvae, run, trained):
    result = textvae("evaluate", run, "--samples", 1, "--nearest", 4, "--json")
    rows = result.json["nearest"]
    assert [row["sample"] for row in rows] == trained.vae.sample(4, seed=0)
    train = trained.splits["train"]["text"][:]
    for row in rows:
        assert row["nearest"] in train
        assert (row["overlap"] == 1) is (set(row["sample"].split()) in [set(line.split()) for line in train])
    assert "nearest" not in json.loads((run / "metrics.json").read_text())
    lines = textvae("evaluate", run, "--samples", 1, "--nearest", 4).out.split("\n\n")[1:]
    assert [line.splitlines()[0] for line in lines] == [row["sample"] for row in rows]
    assert lines[0].splitlines()[1] == f"  {rows[0]['overlap']:.2f}  {rows[0]['nearest']}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "tset"], "error: --split: 'tset' is not known; did you mean 'test'?"),
        (["model.latent.size=3"], "error: model.latent.size=3: only keys of data can be changed"),
        (["data.source=/no/where.txt"], "error: data.source: no such file or folder: /no/where.txt"),
        (["data.source"], "error: 'data.source': an override reads section.key=value"),
    ],
)
def test_mistakes(textvae, run, arguments, message):
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    result = textvae("evaluate", run, *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(message)
    assert len(result.err.splitlines()) == 1
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
