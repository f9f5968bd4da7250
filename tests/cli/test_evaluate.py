"""`textvae evaluate`."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.tiny import tiny_recipe, train_tiny
from textvae.cli.evaluate import gap_line
from textvae.evaluation.report import KEYS
from textvae.evaluation.run import load_run_recipe

EXTRA_KEYS = {
    *("against", "lm_nll", "gap_nll", "gap_nll_stderr", "gap_iw_nll", "gap_iw_nll_stderr"),
    *(
        "gap_bits_per_byte",
        "gap_bits_per_byte_stderr",
        "forward_ppl",
        "reverse_ppl",
        "real_ppl",
        "lm_steps",
        "lm_texts",
    ),
    *(
        "path_pairs",
        "path_steps",
        "path_distinct",
        "path_step_edits",
        "path_ends_exact",
        "path_ends_bleu",
        "path_lm_nll",
    ),
}


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


COPIES = ["refine_steps", "refined_reconstruction_bleu", "refined_token_accuracy", "refined_exact_match"]
BOUNDS = ["refined_nll", "refined_rate", "refined_iw_nll", "refined_iw_nll_stderr"]


def test_refine(textvae, run):
    """Rates of the posteriors after some steps, and copies from better vectors; the other numbers stay."""
    metrics = textvae("evaluate", run, "--samples", 1, "--refine", 3, "--json", "--fp32").json
    assert list(metrics) == [*KEYS, *COPIES, *BOUNDS]
    assert metrics["refined_rate"] != metrics["rate"]
    assert metrics["refined_rate"] == pytest.approx(metrics["rate"], rel=0.2)
    assert metrics["refined_iw_nll"] != metrics["iw_nll"]
    assert metrics["refined_iw_nll"] == pytest.approx(metrics["iw_nll"], rel=0.2)
    assert metrics["refined_token_accuracy"] >= metrics["token_accuracy"]
    assert metrics == json.loads((run / "metrics.json").read_text())


def test_refine_without_a_density(textvae, run, tmp_path):
    """Vectors can be refined where there is no bound."""
    source = load_run_recipe(run, []).data.source
    short = ["training.max_steps=2", "objective.free_bits=0", "model.latent.posterior=deterministic"]
    folder = train_tiny(tiny_recipe(source, tmp_path / "deterministic", *short)).folder
    metrics = textvae("evaluate", folder, "--refine", 1, "--json").json
    assert [key for key in metrics if key.startswith("refine")] == COPIES


def test_curve(textvae, run):
    """A small table below the others, and the same numbers in the file."""
    table, curve = textvae("evaluate", run, "--samples", 12, "--curve").out.split("\n\n")
    metrics = json.loads((run / "metrics.json").read_text())
    head, *rows = curve.splitlines()
    assert head == "samples     iw_nll"
    assert [row.split()[:2] for row in rows] == [[str(k), f"{metrics[f'iw_nll_k{k}']:.4f}"] for k in (1, 10, 12)]
    assert rows[1].split()[2] == f"{metrics['iw_nll_k10'] - metrics['iw_nll_k1']:+.4f}"
    assert re.search(rf"iw_nll_k10 +{metrics['iw_nll_k10']:.4f}", table)


def test_extras(textvae, run, tmp_path, trained):
    """Everything beyond the usual numbers is in the same flat file; the gap is said in words."""
    lm = tiny_recipe(
        load_run_recipe(run, []).data.source, tmp_path / "lm", "model.latent.size=0", "training.max_steps=2"
    )
    folder = train_tiny(lm).folder
    result = textvae(
        "evaluate", run, "--samples", 2, "--against", folder, "--paths", 3, "--perplexities", "--lm-steps", 2
    )
    assert result.code == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert list(metrics)[: len(KEYS)] == list(KEYS)
    assert set(metrics) - set(KEYS) == EXTRA_KEYS
    assert metrics["path_lm_nll"] > 0
    line = f"less the language model: {metrics['gap_iw_nll']:+.3f} ± {metrics['gap_iw_nll_stderr']:.3f}"
    assert result.out.splitlines()[-1].startswith(line)


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"latent_size": 0}, "less the language model: -1.500 ± 0.250 nats a text; below 0 the VAE is better"),
        (
            {"latent_size": 4, "lm_nll": None, "gap_nll": None, "gap_iw_nll": None},
            "less the language model: +0.125 bits a byte (iw_nll; the vocabularies differ); below 0 the VAE is better",
        ),
        (  # not finite
            {"latent_size": 4, "gap_iw_nll": None, "gap_iw_nll_stderr": None},
            "less the language model: undefined, -1.500 ± 0.250 nats a text (iw_nll, nll); below 0 the VAE is better",
        ),
    ],
)
def test_gap_line(metrics, expected):
    gaps = {
        "lm_nll": 3.0,
        "gap_nll": -1.5,
        "gap_nll_stderr": 0.25,
        "gap_bits_per_byte": 0.125,
        "gap_bits_per_byte_stderr": None,
    }
    assert gap_line(gaps | metrics) == expected


def test_every_key_is_documented(textvae, run):
    """docs/metrics.md has all keys, those of extras and of the doctor as well."""
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    doctor = json.loads((run / "doctor.json").read_text())
    probes = {"probe_linear", "probe_knn", "probe_majority", "probe_labels", "probe_texts", "mauve", "mauve_features"}
    plain = {*KEYS, *EXTRA_KEYS, *COPIES, *BOUNDS, *doctor, *probes}
    assert sorted(key for key in plain if f"`{key}`" not in text and not key.startswith("gap_")) == []


def test_numbers_of_another_corpus_stand_beside_those_of_the_runs_own(textvae, run, tmp_path):
    (tmp_path / "other.txt").write_text("the cat sees something\n" * 30)
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    result = textvae("evaluate", run, f"data.source={tmp_path / 'other.txt'}", "--samples", 1, "--json")
    assert result.json["sentences"] == 2
    (file,) = run.glob("metrics-validation-other-txt-*.json")
    assert json.loads(file.read_text()) == result.json
    file.unlink()
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_a_curve_of_a_single_sample(textvae, run):
    result = textvae("evaluate", run, "--samples", 1, "--curve")
    assert result.code == 0
    assert result.out.splitlines()[-1].split()[0] == "1"


@pytest.mark.parametrize(
    ("changed", "arguments", "message"),
    [
        (["model.latent.posterior=deterministic"], ["--against", "LM"], "--against: a deterministic posterior has no"),
        (["model.latent.size=0"], ["--refine", "2"], "--refine: this run is a plain language model"),
        (["model.latent.size=0"], ["--curve"], "--curve: a plain language model has no bound, so there is no curve"),
        (["model.latent.posterior=deterministic"], ["--curve"], "--curve: a deterministic posterior has no density"),
        ([], ["--lm-steps", "5"], "--lm-steps: no effect without --perplexities"),
        (["model.latent.size=0"], ["--prior", "fitted"], "prior: a plain language model has no latent vectors"),
        (
            ["model.latent.posterior=vmf", "model.latent.prior=uniform"],
            ["--prior", "fitted"],
            "prior: nothing can be fitted on the unit sphere",
        ),
    ],
)
def test_what_a_run_cannot_be_asked_is_told_first(
    textvae, run, tmp_path_factory, monkeypatch, changed, arguments, message
):
    source = load_run_recipe(run, []).data.source
    short = ["training.max_steps=2", "objective.free_bits=0"]
    folders, tmp_path = {}, tmp_path_factory.mktemp("asked")
    for name, overrides in (("run", changed), ("LM", ["model.latent.size=0"])):
        folders[name] = train_tiny(tiny_recipe(source, tmp_path / name, *short, *overrides)).folder
    monkeypatch.setattr("textvae.evaluation.run.evaluate_split", lambda *_, **__: pytest.fail("too late"))
    result = textvae("evaluate", folders["run"], *(folders.get(argument, argument) for argument in arguments))
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {message}")


def test_what_a_corpus_cannot_answer_is_told_first(textvae, run, tmp_path, monkeypatch):
    """One label has nothing to be told from, and one text no other end of a path."""
    for split, count in (("train", 9), ("valid", 1), ("test", 1)):
        lines = [json.dumps({"text": f"the cat sees {n}", "label": "cat"}) for n in range(count)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr("textvae.evaluation.run.evaluate_split", lambda *_, **__: pytest.fail("too late"))
    corpus = [f"data.source={tmp_path}", "data.label_column=label"]
    for asked, message in (
        (["--probes"], "--probes: 1 labels in training, 1 labelled texts to measure on"),
        (["--paths", 3], "--paths: a path joins 2 texts; validation has 1"),
    ):
        result = textvae("evaluate", run, *asked, *corpus)
        assert (result.code, result.err.splitlines()[-1]) == (2, f"error: {message}")


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
        (["--probes"], "error: --probes: the corpus has no labels; name their column in data.label_column=COLUMN"),
        (["--against", "/no/where"], "error: /no/where is not a run"),
        (["--refine", "3", "--split", "tset"], "error: --split: 'tset' is not known"),
    ],
)
def test_mistakes(textvae, run, arguments, message):
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    result = textvae("evaluate", run, *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(message)
    assert len(result.err.splitlines()) == 1
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


# ---- Whose texts are measured ----


@pytest.fixture
def own(tmp_path, trained):
    """A run, its language model, and their corpus as a file of their own; and its lines."""
    source = Path(load_run_recipe(trained.folder, []).data.source)
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(source.read_text())
    run, lm = (
        train_tiny(tiny_recipe(corpus, tmp_path / name, "training.max_steps=2", *more)).folder
        for name, more in (("run", []), ("lm", ["model.latent.size=0"]))
    )
    return run, lm, corpus


def test_a_corpus_that_has_moved_is_known_again(textvae, own, tmp_path):
    """For the language model beside it too, and for what needs the training texts."""
    run, lm, corpus = own
    corpus.rename(tmp_path / "moved.txt")
    moved = f"data.source={tmp_path / 'moved.txt'}"
    extras = ["--against", lm, "--perplexities", "--lm-steps", 2]
    result = textvae("evaluate", run, moved, "--samples", 2, *extras, "--json")
    assert result.code == 0
    assert result.json["gap_nll"] is not None
    assert result.json["copied_from_train"] is not None
    assert "stand in what the run was trained on" not in result.err
    result = textvae("evaluate", run, "--samples", 2, "--against", lm)
    assert (result.code, "no such file" in result.err) == (2, True)


def test_other_texts_are_no_corpus_that_has_moved(textvae, own, tmp_path):
    run, *_ = own
    (tmp_path / "other.txt").write_text("".join(f"the cat sees {n}\n" for n in range(260)))
    other = train_tiny(
        tiny_recipe(tmp_path / "other.txt", tmp_path / "b", "training.max_steps=2", "model.latent.size=0")
    )
    result = textvae("evaluate", run, "--samples", 2, "--against", other.folder)
    assert (result.code, "was trained on other texts" in result.err) == (2, True)


@pytest.mark.parametrize("command", ["evaluate", "doctor"])
def test_texts_that_were_trained_on_are_told(textvae, own, command):
    """Of splits cut with another seed, and of a file that has changed since."""
    run, _, corpus = own
    samples = ["--samples", 1] if command == "evaluate" else []
    assert "trained on" not in textvae(command, run, *samples).err
    err = textvae(command, run, "data.seed=7", *samples).err
    assert re.search(r"warning: validation: \d+ of its texts stand in what the run was trained on", err)
    corpus.write_text("".join(corpus.read_text().splitlines(True)[1:]))
    err = textvae(command, run, *samples).err
    assert "warning: validation: not the texts of when the run was trained" in err


def test_numbers_are_shown_where_they_cannot_be_written(textvae, run, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "metrics.json")

    monkeypatch.setattr("textvae.evaluation.report.write_json", full)
    result = textvae("evaluate", run, "--samples", 1, "--json")
    assert (result.code, result.err.splitlines()[-1]) == (2, "error: metrics.json: No space left on device")
    assert result.json["sentences"] > 1
