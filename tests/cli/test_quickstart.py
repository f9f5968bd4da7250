"""`textvae quickstart`, with a recipe that trains in seconds in the place of the real one."""

import pytest

from tests.tiny import tiny_recipe
from textvae import TextVAE, load_recipe
from textvae.cli.quickstart import SampleCorpus

SHORT = ["training.eval_steps=0.5", "training.save_steps=0.5"]


@pytest.fixture
def asked(monkeypatch, corpus_file, tmp_path):
    """Names of the recipes that were asked for; a small one stands in for each."""
    names = []

    def small(name, overrides):
        names.append(name)
        return tiny_recipe(corpus_file, tmp_path / "unused", *SHORT, *overrides)

    monkeypatch.setattr("textvae.recipe.load_recipe", small)
    monkeypatch.chdir(tmp_path)
    return names


@pytest.mark.parametrize("corpus", list(SampleCorpus))
def test_the_recipes_exist(corpus):
    recipe = load_recipe(f"{corpus.value}_gru_gru", ["output_dir=runs/x", "training.seed=1", "training.max_steps=2"])
    assert recipe.data.source == f"sample:{corpus.value}"


def test_what_a_person_sees(textvae, asked, tmp_path):
    result = textvae("quickstart", "--max-steps", 8)
    assert result.code == 0
    assert asked == ["headlines_gru_gru"]
    folder = tmp_path / "runs" / "quickstart-headlines"
    vae = TextVAE.from_pretrained(folder)
    text, shown = result.out, result.out.splitlines()
    assert shown[0].startswith("Trained in ")
    for number in ("nll", "rate", "active units", "reconstruction"):
        assert any(line.startswith(f"  {number} ") for line in shown)
    assert all(f"\n  {sample}\n" in text for sample in vae.sample(8, seed=0))
    held_out = [line[8:] for line in shown if line.startswith(("  from: ", "  to:   "))]
    path = vae.interpolate(*held_out)
    assert "\n".join(f"  {number}  {step}" for number, step in enumerate(path, 1)) in text
    copies = [line for line in shown if line.startswith("  -> ")]
    assert len(copies) == 4
    assert copies[0][5:] == vae.reconstruct(shown[shown.index(copies[0]) - 1].strip())
    assert [line.split()[:3] for line in shown[-3:]] == [
        ["textvae", command, "runs/quickstart-headlines"] for command in ("interpolate", "sample", "evaluate")
    ]


def test_no_run_is_replaced_unless_it_is_asked_for(textvae, asked, tmp_path):
    arguments = ["quickstart", "--corpus", "poems", "--max-steps", 4, "--json", "--seed", 3]
    first = textvae(*arguments).json
    assert first["run"] == "runs/quickstart-poems"
    assert {"nll", "rate", "samples", "originals", "reconstructions", "a", "b", "interpolation"} <= first.keys()
    assert [len(first[key]) for key in ("samples", "originals", "reconstructions", "interpolation")] == [8, 4, 4, 7]
    second = textvae(*arguments).json
    assert second["run"] == "runs/quickstart-poems-2"
    assert second | {"seconds": 0, "run": first["run"]} == first | {"seconds": 0}
    assert textvae(*arguments, "--overwrite").json["run"] == first["run"]
    named = [*arguments, "--output-dir", "runs/quickstart-poems"]
    refused = textvae(*named)
    assert (refused.code, refused.out) == (2, "")
    assert "holds a run" in refused.err
    assert textvae(*named, "--overwrite").code == 0
    assert set(asked) == {"poems_gru_gru"}


@pytest.mark.parametrize("options", [["--corpus", "novels"], ["--max-steps", "0"]])
def test_mistakes(textvae, asked, tmp_path, options):
    result = textvae("quickstart", *options)
    assert (result.code, result.out) == (2, "")
    assert list(tmp_path.iterdir()) == []
