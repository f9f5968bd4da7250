"""Stages: what each begins with, what is left of it, and what is refused."""

import copy
import json

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.contract import disturbed
from tests.tiny import tiny_recipe, train_tiny
from textvae.training.stages import reset

SETTINGS = ("training.logging_steps=1", "training.eval_steps=3", "training.save_steps=3", "training.ema_decay=0.5")


def stages(text):
    return f"training.stages=[{text}]"


@pytest.fixture(scope="module")
def two(corpus_file, tmp_path_factory):
    """Six steps with beta 0, six at a learning rate of nothing with a new decoder."""
    text = "{max_steps: 6, objective: {beta: 0}}, {max_steps: 9, reset: [decoder], learning_rate: 1e-30}"
    recipe = tiny_recipe(
        corpus_file, tmp_path_factory.mktemp("runs") / "two", *SETTINGS, "training.lr_scheduler_type=linear",
        stages(text),
    )  # fmt: skip
    return train_tiny(recipe)


def rows(run, key):
    lines = (run.folder / "logs" / "history.jsonl").read_text().splitlines()
    return [row[key] for row in map(json.loads, lines) if key in row and "loss" in row]


def test_progress_and_learning_rate_run_in_each_stage(two):
    """The second stage has the objective of the recipe: beta rises to 0.3 in the first third."""
    assert rows(two, "step") == list(range(1, 16))
    assert rows(two, "stage") == [1] * 6 + [2] * 9
    assert rows(two, "beta") == pytest.approx([0] * 6 + [0.3 * min(1, step / 9 / 0.3) for step in range(9)])
    expected = [0.03 * (1 - step / 6) for step in range(6)] + [1e-30 * (1 - step / 9) for step in range(9)]
    assert rows(two, "learning_rate") == pytest.approx(expected, rel=1e-6)


def test_a_stage_hands_its_last_averaged_weights_on(two):
    first = load_file(two.folder / "checkpoints" / "stage-1" / "model.safetensors")
    last = load_file(two.folder / "model.safetensors")
    for name, value in last.items():
        assert torch.equal(value, first[name]) is not name.startswith("decoder."), name


def test_an_ended_stage_leaves_its_weights_and_its_history_alone(two):
    checkpoints = two.folder / "checkpoints"
    assert {path.name for path in checkpoints.iterdir()} == {"stage-1", "checkpoint-9", "best"}
    assert {path.name for path in (checkpoints / "stage-1").iterdir()} == {"model.safetensors", "history.json"}


def test_recipe_is_resolved(two, corpus_file):
    [first, second] = yaml.safe_load((two.folder / "textvae.yaml").read_text())["training"]["stages"]
    assert (first["max_steps"], first["objective"]["kind"], first["objective"]["beta"]["max"]) == (6, "elbo", 0)
    assert second == {"max_steps": 9, "reset": ["decoder"], "learning_rate": 1e-30}


def test_resume_with_other_stages_is_refused(two, corpus_file):
    recipe = tiny_recipe(corpus_file, two.folder, *SETTINGS, stages("{max_steps: 6}, {max_steps: 12}"))
    with pytest.raises(ValueError, match=r"training\.stages differ from"):
        train_tiny(recipe, resume=True)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("parts", [("decoder",), ("encoder", "decoder"), ("encoder", "posterior", "prior"), ()])
def test_reset(make_model, parts, shared):
    """Word vectors that the encoder reads as well stay with it."""
    encoder = {"kind": "recurrent", "embedding_size": 12, "hidden_size": 10, "share_embeddings": shared}
    model, fresh = disturbed(make_model(encoder, "gru")), make_model(encoder, "gru", seed=1)
    before = copy.deepcopy(model.state_dict())
    reset(model, fresh, parts)
    for name, value in model.state_dict().items():
        part, rest = name.split(".", 1)
        anew = part in parts and not (rest == "embedding.weight" and part == "decoder" and shared and len(parts) == 1)
        assert torch.equal(value, (fresh.state_dict() if anew else before)[name]), name


def test_reset_of_a_plain_language_model(make_model):
    model, fresh = make_model(latent_size=0), make_model(latent_size=0, seed=1)
    reset(model, fresh, ("encoder", "decoder"))
    assert torch.equal(model.decoder.embedding.weight, fresh.decoder.embedding.weight)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["{max_steps: 3, rest: [decoder]}"], r"training\.stages\.0\.rest: unknown key; did you mean 'reset'"),
        (["{max_steps: 0}"], r"training\.stages\.0\.max_steps: 0 is not allowed"),
        (["{max_steps: 3, reset: [brain]}"], r"training\.stages\.0\.reset\.0: 'brain' is not allowed.*'decoder'"),
        (["{max_steps: 3}, {max_steps: 3, objective: {bete: 1}}"], r"stages\.1\.objective: objective\.bete: unkn"),
        ([""], r"training\.stages: \[\] is not allowed"),
        (["{max_steps: 3}", "training.max_steps=5"], r"training\.max_steps: no effect beside training\.stages"),
        (["{max_steps: 3}", "training.num_train_epochs=5"], r"training\.num_train_epochs: no effect beside training"),
    ],
)  # fmt: skip
def test_refused(corpus_file, tmp_path, overrides, message):
    with pytest.raises(ValueError, match=message):
        tiny_recipe(corpus_file, tmp_path, stages(overrides[0]), *overrides[1:])
