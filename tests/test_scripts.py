"""The scripts: the same as the commands, by public names only."""

import ast
import csv
import dataclasses
import importlib
import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import yaml

import textvae
from tests.tiny import RECIPE
from textvae.recipe import load_recipe

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


@pytest.mark.parametrize("name", ["sample.py", "interpolate.py", "evaluate.py"])
def test_a_run_that_is_none(script, tmp_path, capsys, name):
    with pytest.raises(SystemExit, match="2"):
        script(name, tmp_path / "nothing", *(["a", "b"] if name == "interpolate.py" else []))
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")


def test_train(script, corpus_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    arguments = ["tiny.yaml", f"data.source={corpus_file}", "training.max_steps=2", "output_dir=here"]
    printed = script("train.py", *arguments)
    assert printed.splitlines()[-1] == "run: here"
    assert json.loads((tmp_path / "here" / "metrics.json").read_text())["sentences"] == 14
    with pytest.raises(SystemExit, match="2"):
        script("train.py", *arguments)
    assert re.fullmatch("error: .* holds a run; .*\n", capsys.readouterr().err)
    script("train.py", *arguments, "--overwrite")
    script("train.py", *arguments, "--resume")


def test_list_keys(script, tmp_path):
    """The page is what the code says now: python scripts/list_keys.py."""
    script("list_keys.py", "--output", tmp_path / "keys.md")
    assert (tmp_path / "keys.md").read_text() == (SCRIPTS.parent / "docs" / "keys.md").read_text()


def test_draw_collapse(script, trained, tmp_path):
    script("draw_collapse.py", trained.folder, trained.folder, "--output", tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(SystemExit, match="2"):
        script("draw_collapse.py", tmp_path, "--output", tmp_path / "other.png")


# ---- Scripts that train many runs ----


@pytest.fixture
def runs(monkeypatch):
    """The module of the scripts that start commands; these run in this process, and the fixture notes them."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    module = importlib.import_module("runs")
    module.asked = []

    def textvae_here(*arguments):
        module.asked.append(arguments)
        monkeypatch.setattr(sys, "argv", ["textvae", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert not left.value.code

    cli = importlib.import_module("textvae.cli.main")
    monkeypatch.setattr(module, "textvae", textvae_here)
    return module


def test_rate_distortion(script, runs, corpus_file, tmp_path, capsys):
    """A row a rate, the language model first; what is finished is not trained again."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    out = tmp_path / "out"
    changed = [f"data.source={corpus_file}", "training.max_steps=20"]
    arguments = ["rate_distortion.py", tmp_path / "tiny.yaml", *changed, "--output-dir", out, "--rates", 4, 0]
    printed = script(*arguments)
    assert str(out / "frontier.png") in printed.splitlines()[-1]
    rows = list(csv.DictReader((out / "frontier.csv").open()))
    assert [float(row["asked_rate"]) for row in rows] == [0, 4]
    assert [float(row["rate"]) == 0 for row in rows] == [True, False]
    for row in rows:
        asked = float(row["asked_rate"])
        assert row["reached"] == str(abs(float(row["rate"]) - asked) <= 0.05 * asked)
        assert float(row["nll"]) == pytest.approx(float(row["rate"]) + float(row["distortion"]), abs=1e-3)
        assert 0 < float(row["minutes"]) < 5
    assert (out / "frontier.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert [command[0] for command in runs.asked] == ["train", "train"]
    script(*arguments)
    assert len(runs.asked) == 2
    # Runs of another recipe are not passed off as those asked for.
    for value, told in (
        ("training.max_steps=30", "rate-0 holds a run with another training.max_steps; choose another"),
        ("training.max_stps=20", "error: training.max_stps: unknown key"),
    ):
        with pytest.raises(SystemExit, match=r"^2$"):
            script(*(argument if "max_steps" not in str(argument) else value for argument in arguments))
        assert told in (line := capsys.readouterr().err)
        assert line.count("\n") == 1
    assert len(runs.asked) == 2


def test_a_run_that_was_cut_off_is_resumed(runs, corpus_file, tmp_path, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    arguments = (tmp_path / "run", str(tmp_path / "tiny.yaml"), [f"data.source={corpus_file}", "training.max_steps=4"])
    runs.train(*arguments)
    assert "--resume" not in runs.asked[-1]
    (tmp_path / "run" / "metrics.json").unlink()
    runs.train(*arguments)
    assert "--resume" in runs.asked[-1]
    assert (tmp_path / "run" / "metrics.json").is_file()


@pytest.mark.parametrize(("asked", "goes"), [(None, True), ("v1", True), ("1" * 40, True), ("v2", False)])
def test_what_a_run_notes_of_pretrained_parts_is_no_difference(runs, tmp_path, monkeypatch, capsys, asked, goes):
    """Which commit a revision stands for, and what the weights were; another revision is one."""
    monkeypatch.setattr(textvae.weights, "commit", lambda name, revision: "1" * 40 if revision == "v1" else revision)
    part = {"kind": "pretrained", "name": "someone/model"}
    values = {"data": {"source": "sample:headlines"}, "model": {"encoder": part, "decoder": part}}
    noted = part | {"revision": "1" * 40, "fingerprint": "f"}
    noted = values | {"model": {"encoder": noted, "decoder": noted}, "tokenizer": {"revision": "1" * 40}}
    for name, content in (("recipe", values), ("noted", noted)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "textvae.yaml").write_text(load_recipe(tmp_path / "noted.yaml").to_yaml())
    recipe = str(tmp_path / "recipe.yaml")
    changed = [f"model.{side}.revision={asked}" for side in ("encoder", "decoder")] if asked else []
    if goes:
        runs._check_same(tmp_path, recipe, changed)
        older = yaml.safe_load((tmp_path / "textvae.yaml").read_text())
        del older["data"]["overlong"]  # as if the key had come after the run was begun
        (tmp_path / "textvae.yaml").write_text(yaml.safe_dump(older))
        runs._check_same(tmp_path, recipe, changed)
    else:
        with pytest.raises(SystemExit, match=r"^2$"):
            runs._check_same(tmp_path, recipe, changed)
        assert re.search(r"holds a run with another .*model\.encoder\.revision, ", capsys.readouterr().err)


@pytest.fixture
def reproduce(runs):
    return importlib.import_module("reproduce_ptb")


def test_every_row_of_the_table_is_a_recipe(reproduce):
    """No key is misspelt, the rows differ, and those that are compared have the same number of updates."""
    seen = {}
    for name, row in reproduce.ROWS.items():
        changed = reproduce.overrides(row, Path("DATA"), 4000, 7)
        recipe = load_recipe(row.recipe, changed)
        assert (recipe.data.source, recipe.training["seed"]) == ("DATA", 7)
        steps = recipe.training.get("max_steps") or sum(stage["max_steps"] for stage in recipe.training["stages"])
        plain = load_recipe("ptb_lstm_lstm")
        budget = {"autoencoder_anchored": 2600, "autoencoder_rotary": 5200}.get(name, plain.training["max_steps"])
        assert steps == (budget if row.full else 4000)
        own = ["max_steps", "seed", "stages", "aggressive", "warmup_steps", "eval_steps"]
        own += ["weight_decay"] if name.startswith(("autoencoder", "higher_rate")) else []
        shared = [{key: value for key, value in r.training.items() if key not in own} for r in (recipe, plain)]
        assert shared[0] == shared[1]
        if not row.full:
            assert recipe.model["decoder"]["hidden_size"] == plain.model["decoder"]["hidden_size"]
            small = load_recipe(row.recipe, reproduce.overrides(row, Path("DATA"), 4000, 7, small=True))
            assert small.model["decoder"]["hidden_size"] < recipe.model["decoder"]["hidden_size"]
            assert (small.objective, small.training) == (recipe.objective, recipe.training)
            assert ("output" in recipe.model["decoder"]["inject"]) == (name in ("skip", "free_bits_skip", "word_sum"))
        seen[name] = recipe.to_yaml()
    assert len(reproduce.COMPARISON) >= 14
    assert len({seen[name] for name in reproduce.COMPARISON}) == len(reproduce.COMPARISON)


@pytest.mark.parametrize(
    ("row", "samples", "measured"),
    [("best", None, "500"), ("best", 7, "7"), ("free_bits", None, "50"), ("free_bits", 7, "7")],
)
def test_how_often_a_row_is_sampled(reproduce, tmp_path, row, samples, measured):
    trial = reproduce.Trial(row, 0, False, tmp_path, tmp_path, samples)
    assert trial.evaluation[trial.evaluation.index("--samples") + 1] == measured
    assert trial.evaluation[trial.evaluation.index("--refine") + 1] == "20"
    assert "--refine" not in trial.beside.evaluation
    if not reproduce.ROWS[row].full:  # only its order matters
        assert "--refine" not in dataclasses.replace(trial, fast=True).evaluation


def test_reproduce_ptb(script, runs, reproduce, texts, tmp_path, monkeypatch):
    """Two rows from corpus to table; the same command again has nothing to do."""
    data = tmp_path / "data"
    data.mkdir()
    for split, part in (("train", texts[:200]), ("valid", texts[200:230]), ("test", texts[230:260])):
        (data / f"{split}.txt").write_text("\n".join(part) + "\n")
    monkeypatch.setattr(reproduce, "FAST_STEPS", 2)
    arguments = ["--data", data, "--output-dir", tmp_path / "out", "--results", tmp_path / "results.md", "--fast"]
    argv = ["reproduce_ptb.py", *map(str, arguments), "--rows", "free_bits", "lm"]
    monkeypatch.setattr(sys, "argv", argv)
    reproduce.main()  # the language model first, whatever the order
    text = (tmp_path / "results.md").read_text()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith(("| lm |", "| free_bits |"))]
    assert [row[0].strip("| ") for row in rows] == ["lm", "free_bits"]
    columns = [name for name, _ in reproduce.COLUMNS]
    lm, vae = (dict(zip(columns, row[2:], strict=False)) for row in rows)
    measured = json.loads((tmp_path / "out" / "free_bits-0-fast" / "metrics-test.json").read_text())
    assert measured["iw_samples"] == 50
    assert measured["sentences"] == 30
    assert vae["iw_nll"] == f"{measured['iw_nll']:.2f}"
    assert vae["gap_iw_nll"] == f"{measured['gap_iw_nll']:+.2f}"
    assert lm["gap_iw_nll"].strip() == ""
    assert vae["refined_nll"].strip() == lm["refined_nll"].strip() == ""
    assert lm["mutual_information"].strip() == ""
    assert "Comparison, fast" in text
    assert "Full budget" not in text
    commands = [line for line in text.splitlines() if line.startswith("textvae train ptb_lstm_lstm")]
    assert len(commands) == 2
    asked = len(runs.asked)
    assert asked == 4
    monkeypatch.setattr(sys, "argv", argv)
    reproduce.main()
    assert len(runs.asked) == asked
    # A gap that is missing, since the language model came later, is measured.
    measured_file = tmp_path / "out" / "free_bits-0-fast" / "metrics-test.json"
    whole = json.loads(measured_file.read_text())
    measured_file.write_text(json.dumps({key: value for key, value in whole.items() if "gap" not in key}))
    reproduce.main()
    assert [command[0] for command in runs.asked[asked:]] == ["evaluate"]
    assert json.loads(measured_file.read_text())["gap_iw_nll"] == whole["gap_iw_nll"]
    # Rows of another call, from another folder of runs, come to those that are there.
    elsewhere = ["--output-dir", str(tmp_path / "elsewhere"), "--rows", "free_bits_total"]
    monkeypatch.setattr(sys, "argv", [*argv[: argv.index("--rows")], *elsewhere])
    reproduce.main()
    lines = (tmp_path / "results.md").read_text().splitlines()
    assert [line.split()[1] for line in lines if line[:4] in ("| lm", "| fr")] == ["lm", "free_bits", "free_bits_total"]


def test_a_rate_cannot_be_asked_for_where_the_last_stage_has_an_objective(script, corpus_file, tmp_path, capsys):
    stages = "training.stages=[{max_steps: 2}, {max_steps: 2, objective: {free_bits: 8}}]"
    arguments = ["headlines_gru_gru", f"data.source={corpus_file}", stages, "--output-dir", tmp_path / "out"]
    with pytest.raises(SystemExit, match=r"^2$"):
        script("rate_distortion.py", *arguments)
    assert "the last stage of headlines_gru_gru has an objective of its own" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_rows_of_another_corpus_are_refused(script, runs, reproduce, texts, tmp_path, monkeypatch, capsys):
    """Neither are they put among the others, nor are its runs taken for them; the folder of the corpus may move."""
    monkeypatch.setattr(reproduce, "FAST_STEPS", 2)

    def call(data, output):
        places = ["--data", data, "--output-dir", tmp_path / output, "--results", tmp_path / "results.md"]
        monkeypatch.setattr(sys, "argv", ["x", *map(str, places), "--fast", "--rows", "lm"])
        reproduce.main()

    for place, first in (("a", 0), ("b", 5), ("moved", 0)):
        (tmp_path / place / "ptb").mkdir(parents=True)
        for split, start, count in (("train", 0, 150), ("valid", 200, 30), ("test", 230, 30)):
            (tmp_path / place / "ptb" / f"{split}.txt").write_text("\n".join(texts[start + first :][:count]) + "\n")
    call(tmp_path / "a" / "ptb", "out")
    before = (tmp_path / "results.json").read_text()
    with pytest.raises(SystemExit, match=r"^2$"):
        call(tmp_path / "b" / "ptb", "elsewhere")
    assert "has the rows of other texts; choose another --results" in capsys.readouterr().err
    assert (tmp_path / "results.json").read_text() == before
    asked = len(runs.asked)
    call(tmp_path / "moved" / "ptb", "out")
    assert len(runs.asked) == asked
    recipe, changed = "ptb_lstm_lstm", ["model.latent.size=0", "training.max_steps=2"]
    runs.train(tmp_path / "whole", recipe, [f"data.source={tmp_path / 'a' / 'ptb'}", *changed])
    with pytest.raises(SystemExit, match=r"^2$"):
        runs.train(tmp_path / "whole", recipe, [f"data.source={tmp_path / 'b' / 'ptb'}", *changed])
    assert "holds a run with another train split, validation split, test split" in capsys.readouterr().err


def test_a_gap_that_was_not_measured_is_a_difference(reproduce):
    """A row that was measured where its language model was not, and both are in the table."""
    entry = {"seed": 0, "fast": False, "gap_iw_nll": None}
    lm, vae, other = (
        entry | {"row": row, "nll": 100.0, "iw_nll": iw_nll, "seed": seed}
        for row, iw_nll, seed in (("best_lm", 100.0, 0), ("best", 98.5, 0), ("best", 98.5, 1))
    )
    measured = vae | {"gap_iw_nll": -1.4}
    compared = vae | {"row": "none"}  # whose language model is another
    found = reproduce.with_gaps([lm, vae, other, measured, compared])
    assert [row["gap_iw_nll"] for row in found] == [None, -1.5, None, -1.4, None]


def test_a_row_that_is_measured_under_a_fitted_prior(runs, reproduce, texts, tmp_path, monkeypatch):
    """Its numbers are those, and the command that fits stands between the others."""
    for split, part in (("train", texts[:200]), ("valid", texts[200:230]), ("test", texts[230:260])):
        (tmp_path / f"{split}.txt").write_text("\n".join(part) + "\n")
    monkeypatch.setattr(reproduce, "STEPS", 2)
    row = dataclasses.replace(reproduce.ROWS["free_bits"], components=3, refine=2)
    monkeypatch.setitem(reproduce.ROWS, "free_bits", row)
    arguments = ["--data", tmp_path, "--output-dir", tmp_path / "out", "--results", tmp_path / "results.md"]
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", ["reproduce_ptb.py", *map(str, arguments), "--rows", "free_bits"])
        reproduce.main()
        assert [command[0] for command in runs.asked] == ["train", "fit-prior", "evaluate"]
    entry = json.loads((tmp_path / "results.json").read_text())["free_bits-0"]
    assert [command.split()[1] for command in entry["commands"]] == ["train", "fit-prior", "evaluate"]
    assert "--components 3" in entry["commands"][1]
    found = json.loads((tmp_path / "out" / "free_bits-0" / "metrics-test-fitted-prior.json").read_text())
    assert (found["prior"], found["refine_steps"]) == ("fitted mixture of 3", 2)
    assert entry["iw_nll"] == found["iw_nll"]
    lines = (tmp_path / "results.md").read_text().splitlines()
    cells = next(line for line in lines if line.startswith("| free_bits |")).split(" | ")[2:]
    columns = dict(zip([name for name, _ in reproduce.COLUMNS], cells, strict=False))
    for key in ("refined_nll", "refined_iw_nll"):
        assert columns[key] == f"{found[key]:.2f}"
    # Another number of components is another row.
    monkeypatch.setitem(reproduce.ROWS, "free_bits", dataclasses.replace(row, components=2))
    monkeypatch.setattr(sys, "argv", ["reproduce_ptb.py", *map(str, arguments), "--rows", "free_bits"])
    reproduce.main()
    assert [command[0] for command in runs.asked[3:]] == ["fit-prior", "evaluate"]


def test_seeds_have_a_mean_and_what_fails_does_not_end_the_table(reproduce, runs, tmp_path, monkeypatch, capsys):
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "valid", "test"):
        (data / f"{split}.txt").write_text("a b\n" * 40)
    figures = dict.fromkeys((key for key, _ in reproduce.COLUMNS), 2.0) | {"verdict": "healthy"}

    def run(trial):
        if trial.name == "beta":
            raise SystemExit(2)

    monkeypatch.setattr(reproduce.Trial, "run", run)
    monkeypatch.setattr(runs, "figures", lambda folder, split: figures | {"iw_nll": 100.0 + int(folder.name[-1])})
    arguments = ["--data", data, "--output-dir", tmp_path / "out", "--results", tmp_path / "r.md", "--seeds", 3]
    monkeypatch.setattr(sys, "argv", ["x", *map(str, arguments), "--rows", "beta", "none"])
    with pytest.raises(SystemExit, match=r"^2$"):
        reproduce.main()
    told = capsys.readouterr()
    assert "failed: beta-0, beta-1, beta-2" in told.err
    assert "no gap measured beside the language model: it takes --rows lm with these seeds" in told.out
    text = (tmp_path / "r.md").read_text()
    assert "| none | mean ± sd | 101.00 ± 1.00 |" in text
    assert "| beta |" not in text


def test_the_fast_table_tells_what_changes_places(reproduce):
    def rows(fast, **iw_nll):
        return [{"row": name, "fast": fast, "iw_nll": value} for name, value in iw_nll.items()]

    full = rows(False, lm=100.0, none=100.5, beta=102.0, vmf=104.0)
    told = reproduce.order_kept(full + rows(True, lm=110.0, none=111.0, beta=112.0, vmf=111.5))
    # lm and none lie too near to one another to count.
    assert told == " Of 5 pairs of rows more than a nat apart above, 4 keep their order; not beta and vmf."
    # Of several seeds the mean counts.
    told = reproduce.order_kept(full + rows(True, beta=112.0, vmf=111.0) + rows(True, vmf=115.0))
    assert told == " Of 1 pairs of rows more than a nat apart above, 1 keep their order."
    assert reproduce.order_kept(full + rows(True, none=110.0, lm=111.0, best=3.0)) == ""
    # A posterior that has shrunk to points may have no bound.
    assert reproduce.order_kept(full + rows(True, infovae=None, lm=111.0)) == ""


def test_the_thousand_sentences_are_always_the_same(reproduce, tmp_path):
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("\n".join(f"{split} {number}" for number in range(3000)) + "\n")
    one, two = (
        reproduce.thousand(reproduce.read_splits(tmp_path), tmp_path / "one"),
        reproduce.thousand(reproduce.read_splits(tmp_path), tmp_path / "two"),
    )
    sizes = [len((one / f"{split}.txt").read_text().splitlines()) for split in ("train", "valid", "test")]
    assert sizes == [3000, 1000, 1000]
    assert (one / "test.txt").read_text() == (two / "test.txt").read_text()


@pytest.mark.parametrize(("other", "told"), [(b"another\n", "holds the texts of another --data"), (b"\xff", "UTF-8")])
def test_texts_that_are_not_those_of_the_runs_are_refused(reproduce, tmp_path, capsys, other, told):
    """Rows that are finished would pass for rows of these; nothing is written."""
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text(f"{split}\n")
    corpus = reproduce.thousand(reproduce.read_splits(tmp_path), tmp_path / "corpus")
    assert reproduce.thousand(reproduce.read_splits(tmp_path), tmp_path / "corpus") == corpus
    (tmp_path / "test.txt").write_bytes(other)
    with pytest.raises(SystemExit, match=r"^2$"):
        reproduce.thousand(reproduce.read_splits(tmp_path), corpus)
    assert told in capsys.readouterr().err
    assert (corpus / "test.txt").read_text() == "test\n"


def test_whose_numbers_stand_in_the_table(reproduce, runs, tmp_path, monkeypatch):
    """Those of the run at hand; date and machine are on record for a training of which more was measured later."""
    figures = dict.fromkeys((key for key, _ in reproduce.COLUMNS), 2.0) | {"minutes": 5.5}
    monkeypatch.setattr(runs, "figures", lambda folder, split: figures)
    monkeypatch.setattr(reproduce, "hardware", lambda: {"cpu": "here", "threads": 2, "torch": "2", "date": "today"})
    trial, file = reproduce.Trial("best", 0, False, tmp_path, tmp_path), tmp_path / "results.json"
    elsewhere = {"cpu": "there", "threads": 9, "torch": "1", "date": "before", "minutes": 5.5, "iw_nll": 96.0}
    file.write_text(json.dumps({"best-0": elsewhere}))
    entry = reproduce.record(trial, file)["best-0"]
    assert (entry["cpu"], entry["date"], entry["iw_nll"]) == ("there", "before", 2.0)
    figures["minutes"] = 45.0
    entry = reproduce.record(trial, file)["best-0"]
    assert (entry["cpu"], entry["date"], entry["minutes"]) == ("here", "today", 45.0)
    other = entry | {"gpu": "G", "seed": 1}
    assert not any("today" in line for line in reproduce.table([entry, entry | {"seed": 1}]))
    lines = reproduce.table([entry, other])
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].endswith("| here, 2 threads, torch 2, today |")
    assert lines[3].endswith("| G, torch 2, today |")
    assert json.loads(file.read_text())["best-0"] == entry


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("data", "--data: wanted one file train.txt"),
        ("results", "--results: "),
        ("output", "cannot write where --output-dir and --results say"),
    ],
)
def test_bad_places_are_refused_before_anything_is_trained(
    reproduce, runs, tmp_path, monkeypatch, capsys, broken, told
):
    (tmp_path / "data").mkdir()
    for split in ("train", "valid", "test") if broken != "data" else ():
        (tmp_path / "data" / f"{split}.txt").write_text("a b\n" * 4)
    (tmp_path / "results.json").write_text("{" if broken == "results" else "{}")
    (tmp_path / "file").write_text("")
    out = tmp_path / ("file" if broken == "output" else "out")
    places = ["--data", tmp_path / "data", "--output-dir", out, "--results", tmp_path / "results.md"]
    monkeypatch.setattr(sys, "argv", ["x", *map(str, places), "--rows", "best"])
    with pytest.raises(SystemExit, match=r"^2$"):
        reproduce.main()
    assert told in (line := capsys.readouterr().err)
    assert line.count("\n") == 1
    assert runs.asked == []
