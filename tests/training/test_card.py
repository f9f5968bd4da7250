"""The model card."""

import yaml
from huggingface_hub import ModelCard

from tests.tiny import tiny_recipe
from textvae.recipe import make_recipe
from textvae.training.card import model_card


def test_card(trained, corpus_file):
    card = ModelCard((trained.folder / "README.md").read_text(encoding="utf-8"))
    assert card.data.to_dict() == {
        "library_name": "textvae",
        "pipeline_tag": "text-generation",
        "tags": ["textvae", "variational-autoencoder"],
    }
    assert card.text.lstrip().startswith("# tiny\n")
    for key in ("nll", "rate", "active_units", "iw_nll", "mutual_information", "reconstruction_bleu", "self_bleu"):
        assert f"| {key} | {trained.metrics[key]:.4g} |" in card.text
    assert "recurrent encoder, recurrent decoder, 8 latent dimensions" in card.text
    assert "(260 train, 14 validation, 14 test texts)" in card.text
    assert all(f"- {text}" in card.text for text in trained.vae.sample(8, seed=0))
    recipe = card.text.split("```yaml")[1].split("```")[0]
    assert make_recipe(yaml.safe_load(recipe), [], trained.folder) == tiny_recipe(corpus_file, trained.folder)


def test_use_works_as_printed(trained, corpus_file):
    """The lines of Python in the card, with the run folder for its name."""
    card = (trained.folder / "README.md").read_text(encoding="utf-8")
    code = card.split("```python")[1].split("```")[0]
    assert "vae.interpolate(" in code
    exec(code.replace("this folder", str(trained.folder)), {})


def test_in_the_current_folder(trained, corpus_file, monkeypatch):
    """A run in `.` is called by the folder's name, and numbers that are null are left out."""
    monkeypatch.chdir(trained.folder)
    recipe = tiny_recipe(corpus_file, ".")
    recipe.output_dir = type(trained.folder)(".")
    text = model_card(recipe, trained.metrics | {"rate": None}, trained.corpus, trained.vae, 90)
    assert "\n# tiny\n" in text
    assert "in 1.5 minutes." in text
    assert "| rate |" not in text
