"""Evaluating a finished run on its own corpus and on others."""

import shutil

import pytest

from tests.tiny import tiny_recipe
from textvae import evaluate_run
from textvae.evaluation.run import load_run_recipe


def test_the_run_s_own_numbers_come_back(trained):
    """Loaded from disk, with as many samples, evaluation finds what training wrote down."""
    metrics, vae, train = evaluate_run(trained.folder, "validation", 20, bf16=False)
    theirs = trained.metrics | {"seconds": 0}
    assert metrics.keys() == theirs.keys()
    for key, value in (metrics | {"seconds": 0}).items():
        assert value == pytest.approx(theirs[key]), key
    assert train["text"][:] == trained.splits["train"]["text"][:]
    assert vae.sample(2, seed=0) == trained.vae.sample(2, seed=0)


@pytest.mark.parametrize("split", ["validation", "test", "train"])
def test_splits(trained, split):
    metrics, _, _ = evaluate_run(str(trained.folder), split, 1)
    assert metrics["split"] == split
    assert metrics["sentences"] == len(trained.splits[split])


def test_another_corpus(trained, tmp_path):
    """Its texts are measured; copies are counted in the corpus that the run was trained on."""
    texts = trained.splits["test"]["text"][:3]
    for name, lines in (("train", ["zebras only"] * 2), ("test", [*texts, "the zebra sees something"])):
        (tmp_path / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
    own, _, _ = evaluate_run(trained.folder, "test", 1)
    other, _, train = evaluate_run(trained.folder, "test", 1, [f"data.source={tmp_path}"])
    assert other["sentences"] == 4
    assert other["unk_rate"] == pytest.approx(1 / other["tokens"])
    assert other["bits_per_byte"] is None
    assert other["copied_from_train"] == own["copied_from_train"] > 0
    assert train["text"][:] == trained.splits["train"]["text"][:]


def test_another_corpus_when_the_own_is_gone(trained, tmp_path, caplog):
    folder = tmp_path / "run"
    shutil.copytree(trained.folder, folder)
    recipe = (folder / "textvae.yaml").read_text()
    (folder / "textvae.yaml").write_text(recipe.replace(str(load_run_recipe(folder, []).data.source), "/no/where.txt"))
    (tmp_path / "other.txt").write_text("the cat sees something\n" * 9)
    metrics, _, train = evaluate_run(folder, "validation", 1, [f"data.source={tmp_path / 'other.txt'}"])
    assert metrics["copied_from_train"] is None
    assert train is None
    assert "/no/where.txt" in caplog.text
    with pytest.raises(ValueError, match=r"no such file or folder: /no/where\.txt"):
        evaluate_run(folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "tset"}, "--split: 'tset' is not known; did you mean 'test'"),
        ({"overrides": ["model.latent.size=3"]}, "model.latent.size=3: only keys of data can be changed"),
        ({"overrides": ["data.source=/no/where.txt"]}, "no such file or folder: /no/where.txt"),
        ({"overrides": ["data.sorce=x"]}, "data.sorce: unknown key; did you mean 'source'"),
    ],
)
def test_mistakes(trained, arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate_run(trained.folder, **arguments)


@pytest.mark.parametrize(
    "overrides",
    [
        # Neither would do alone what a section `objective` says for a training without stages.
        [
            "model.latent.prior=mixture",
            "objective={beta: 0}",
            "training.stages=[{max_steps: 5}, {max_steps: 5, objective: {beta: 1}}]",
        ],
        [
            "model.latent.posterior=vmf",
            "model.latent.prior=uniform",
            "training.stages=[{max_steps: 5, objective: {beta: 1}}]",
        ],
    ],
)
def test_a_run_in_stages_is_read_as_it_was_trained(corpus_file, tmp_path, overrides):
    recipe = tiny_recipe(corpus_file, tmp_path, *overrides)
    (tmp_path / "textvae.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_run_recipe(tmp_path, []).objective == recipe.objective


def test_no_run(tmp_path):
    with pytest.raises(ValueError, match=r"is not a run: it has no textvae\.yaml"):
        evaluate_run(tmp_path)
