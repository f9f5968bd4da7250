"""Stages: what each begins with, what is left of it, and what is refused."""

import collections
import copy
import json
import math

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import TrainerCallback, set_seed

from tests.contract import disturbed, needs_bfloat16
from tests.pretrained import DECODERS
from tests.tiny import tiny_recipe, train_tiny
from textvae.configuration import TextVAEConfig
from textvae.encoders.recurrent import RecurrentEncoder
from textvae.evaluation.likelihood import evaluate_bound
from textvae.modeling import TextVAEModel
from textvae.training.arguments import TextVAETrainingArguments
from textvae.training.building import build_model
from textvae.training.stage import check_stages
from textvae.training.stages import predicting, reset, word_counts

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


def history(run):
    return [json.loads(line) for line in (run.folder / "logs" / "history.jsonl").read_text().splitlines()]


def rows(run, key):
    return [row[key] for row in history(run) if key in row and "loss" in row]


def test_progress_and_learning_rate_run_in_each_stage(two):
    """The second stage has the objective of the recipe: beta rises to 0.3 in the first third."""
    assert rows(two, "step") == list(range(1, 16))
    assert rows(two, "stage") == [1] * 6 + [2] * 9
    assert rows(two, "beta") == pytest.approx([0] * 6 + [0.3 * min(1, step / 9 / 0.3) for step in range(9)])
    expected = [0.03 * (1 - step / 6) for step in range(6)] + [1e-30 * (1 - step / 9) for step in range(9)]
    assert rows(two, "learning_rate") == pytest.approx(expected, rel=1e-6)


def test_each_stage_has_seeds_of_its_own(corpus_file, tmp_path):
    """Or it would see the batches, the noise and the dropout of the one before it once more."""
    seen = []

    class Look(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            seen.append((args.seed, args.data_seed, torch.initial_seed()))

    for seeds in (("training.seed=3",), ("training.seed=3", "training.data_seed=8")):
        recipe = tiny_recipe(
            corpus_file, tmp_path / str(len(seeds)), *SETTINGS, *seeds, stages("{max_steps: 1}, {max_steps: 1}")
        )
        train_tiny(recipe, callbacks=[Look()])
    assert seen == [(3, None, 3), (4, None, 4), (3, 8, 3), (4, 9, 4)]


def test_what_a_later_stage_cannot_do_is_refused_before_the_first(corpus_file, tmp_path):
    text = "{max_steps: 2}, {max_steps: 2, objective: {kind: adversarial}}"
    recipe = tiny_recipe(corpus_file, tmp_path / "run", *SETTINGS, "training.fp16=true", stages(text))
    with pytest.raises(ValueError, match=r"training\.fp16: true is not allowed with an objective that is trained"):
        train_tiny(recipe)
    assert not (tmp_path / "run").exists()


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


@pytest.mark.parametrize("decoder", ["gru", "gru-anchored"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("parts", [("decoder",), ("encoder", "decoder"), ("encoder", "posterior", "prior"), ()])
def test_reset(make_model, parts, shared, decoder):
    """Word vectors that the encoder reads as well stay with it."""
    encoder = {"kind": "recurrent", "embedding_size": 12, "hidden_size": 10, "share_embeddings": shared}
    model, fresh = disturbed(make_model(encoder, decoder)), make_model(encoder, decoder, seed=1)
    before = copy.deepcopy(model.state_dict())
    reset(model, fresh, parts)
    for name, value in model.state_dict().items():
        part, rest = name.split(".", 1)
        words = part == "decoder" and rest.startswith("embedding.")
        anew = part in parts and not (words and shared and len(parts) == 1)
        assert torch.equal(value, (fresh.state_dict() if anew else before)[name]), name


def test_reset_keeps_word_vectors_in_two_parts_and_by_all_of_their_names():
    """Of a pretrained decoder, tied to its softmax; or of the decoder beside it, first vectors and changes."""
    for beside in (None, {"embedding_size": 12, "hidden_size": 8}):
        encoder = {"kind": "recurrent", "embedding_size": 12 if beside else 16, "share_embeddings": True}
        architecture = DECODERS["llama"] | {"tie_word_embeddings": True}
        decoder = {"kind": "pretrained", "name": "none", "architecture": architecture, "beside": beside}
        config = {"vocab_size": 40, "encoder": encoder, "latent": {"size": 4}, "decoder": decoder}
        model, fresh = (disturbed(TextVAEModel(TextVAEConfig(**copy.deepcopy(config)))) for _ in range(2))
        if beside:
            model.decoder.beside.embedding.begin_from(torch.randn(40, 16))
        before, tail = model.decoder.shared_embedding.weight.clone(), fresh.decoder.state_dict()
        reset(model, fresh, ("decoder",))
        assert torch.equal(model.decoder.shared_embedding.weight, before)
        others = "beside.layers.0.weight_hh_l0" if beside else "backbone.model.layers.0.mlp.up_proj.weight"
        assert torch.equal(model.decoder.state_dict()[others], tail[others])


def test_reset_of_a_plain_language_model(make_model):
    model, fresh = make_model(latent_size=0), make_model(latent_size=0, seed=1)
    reset(model, fresh, ("encoder", "decoder"))
    assert torch.equal(model.decoder.embedding.weight, fresh.decoder.embedding.weight)


STEPS = 150
WORDS = f"{{max_steps: {STEPS}, predicts: words, objective: {{beta: 0.01}}}}"
OUTPUT = "model.decoder.inject=[initial, output]"


@pytest.fixture(scope="module")
def words_first(corpus_file, tmp_path_factory):
    """Words without order first; then texts, at a learning rate of nothing."""
    folder = tmp_path_factory.mktemp("runs") / "words"
    last = "{max_steps: 3, learning_rate: 1e-30}"
    return train_tiny(tiny_recipe(corpus_file, folder, *SETTINGS, OUTPUT, stages(f"{WORDS}, {last}")))


def test_words_first_teach_z_and_its_way_to_the_softmax(words_first, corpus_file):
    """z tells which subject, verb and place of many a text has; what reads in order is not touched."""
    distortion = rows(words_first, "distortion")
    assert distortion[STEPS - 1] < distortion[0] - 0.5 * math.log(8 * 6 * 6)
    recipe = tiny_recipe(corpus_file, words_first.folder, *SETTINGS, OUTPUT, stages(f"{WORDS}, {{max_steps: 3}}"))
    set_seed(recipe.training.get("seed", TextVAETrainingArguments.seed))
    fresh = build_model(recipe, words_first.vae.tokenizer, None)
    first = load_file(words_first.folder / "checkpoints" / "stage-1" / "model.safetensors")
    for name, value in fresh.decoder.state_dict().items():
        assert torch.equal(value, first[f"decoder.{name}"]) is (name not in ("embedding.weight", "output.weight")), name


def test_after_words_a_text_has_the_distortion_of_its_order(words_first):
    model, split = words_first.vae.model, words_first.splits["validation"]
    assert model.log_frequencies is None
    evaluations = [row for row in history(words_first) if "eval_distortion" in row]
    bound = evaluate_bound(model, split, bf16=False)
    assert evaluations[-1]["eval_distortion"] == pytest.approx(float(bound.distortion.mean()), rel=1e-4)
    with predicting("words", model, words_first.splits["train"]):
        words = evaluate_bound(model, split, bf16=False)
    before = [row["eval_distortion"] for row in evaluations if row["stage"] == 1]
    assert before[-1] == pytest.approx(float(words.distortion.mean()), rel=1e-4)


def test_frequencies_are_those_of_the_corpus(words_first):
    model, train = words_first.vae.model, words_first.splits["train"]
    counts = collections.Counter(word for row in train for word in row["ids"][1:])
    size = model.config.vocab_size
    shares = torch.tensor([1.0 + counts[word] for word in range(size)])
    torch.testing.assert_close(word_counts(train, size), shares - 1)
    with predicting("words", model, train):
        torch.testing.assert_close(model.log_frequencies, (shares / shares.sum()).log())


@pytest.mark.parametrize("bf16", [pytest.param(True, marks=needs_bfloat16), False])
def test_every_stage_has_the_precision_that_was_asked_for(corpus_file, tmp_path, monkeypatch, bf16):
    found, forward = [], RecurrentEncoder.forward

    def noting(self, *args, **kwargs):
        if self.training:
            found.append(torch.is_autocast_enabled("cpu"))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(RecurrentEncoder, "forward", noting)
    recipe = tiny_recipe(
        corpus_file, tmp_path / "run", f"training.bf16={bf16}", stages("{max_steps: 2}, {max_steps: 3}")
    )
    train_tiny(recipe)
    assert found == [bf16] * 5


def test_words_with_a_decoder_that_has_no_ways_in_are_refused():
    with pytest.raises(ValueError, match=r"needs output in model\.decoder\.inject, which is \[\]"):
        check_stages([{"predicts": "words"}, {}], {"decoder": {"kind": "of one's own"}})


def test_a_plain_language_model_skips_words(corpus_file, tmp_path):
    recipe = tiny_recipe(
        corpus_file, tmp_path / "lm", *SETTINGS, OUTPUT, "model.latent.size=0", stages(f"{WORDS}, {{max_steps: 3}}")
    )
    run = train_tiny(recipe)
    assert rows(run, "step") == [1, 2, 3]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["{max_steps: 3, rest: [decoder]}"], r"training\.stages\.0\.rest: unknown key; did you mean 'reset'"),
        (["{max_steps: 0}"], r"training\.stages\.0\.max_steps: 0 is not allowed"),
        (["{max_steps: 3, reset: [brain]}"], r"training\.stages\.0\.reset\.0: 'brain' is not allowed.*'decoder'"),
        (["{max_steps: 3}, {max_steps: 3, objective: {bete: 1}}"], r"stages\.1\.objective: objective\.bete: unkn"),
        ([""], r"training\.stages: \[\] is not allowed"),
        (["{max_steps: 3}", "training.max_steps=5"], r"training\.max_steps: no effect beside training\.stages"),
        ([WORDS, OUTPUT], r"training\.stages: 1: predicts: words does not train the decoder; add a stage"),
        ([f"{WORDS}, {{max_steps: 3}}"], r"needs output in model\.decoder\.inject, which is \[initial, concat\]"),
        (["{max_steps: 3}", "training.num_train_epochs=5"], r"training\.num_train_epochs: no effect beside training"),
    ],
)  # fmt: skip
def test_refused(corpus_file, tmp_path, overrides, message):
    with pytest.raises(ValueError, match=message):
        tiny_recipe(corpus_file, tmp_path, stages(overrides[0]), *overrides[1:])


def test_the_first_stage_can_begin_with_a_new_decoder(trained, corpus_file, tmp_path):
    """Of a run that was trained before: an autoencoder in one run, what follows it in another."""
    begun = [f"training.init_from={trained.folder}", "training.learning_rate=1e-30"]
    both = stages("{max_steps: 2, reset: [decoder]}, {max_steps: 2}")
    recipe = tiny_recipe(corpus_file, tmp_path / "run", *SETTINGS, *begun, both)
    weights, before = (load_file(f / "model.safetensors") for f in (train_tiny(recipe).folder, trained.folder))
    same = {name for name in weights if torch.equal(weights[name], before[name])}
    assert same >= {name for name in weights if name.split(".")[0] in ("encoder", "posterior")}
    assert not [name for name in same if name.startswith("decoder.") and name.endswith(("weight", "weight_hh_l0"))]


def test_a_language_model_keeps_its_decoder_through_all_stages(corpus_file, tmp_path):
    """Or it would have had fewer updates than the model that it stands beside."""
    recipe = tiny_recipe(
        corpus_file, tmp_path / "run", *SETTINGS, "model.latent.size=0",
        stages("{max_steps: 2}, {max_steps: 2, reset: [decoder], learning_rate: 1.0e-30}"),
    )  # fmt: skip
    run = train_tiny(recipe)
    first, last = (load_file(run.folder / f) for f in ("checkpoints/stage-1/model.safetensors", "model.safetensors"))
    assert all(torch.equal(value, first[name]) for name, value in last.items())
