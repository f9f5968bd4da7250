"""Quality of interpolations, against what the public method gives pair by pair."""

import functools
import random

import pytest
import torch

from textvae import TextVAE, TextVAEModel, evaluate_run
from textvae.evaluation.likelihood import evaluate_bound
from textvae.evaluation.paths import edit_distance, interpolation_quality
from textvae.evaluation.run import Extras


@pytest.fixture(scope="module")
def sentences(trained):
    return trained.splits["train"]["text"][:]


def test_one_pair_by_hand(trained, sentences):
    """Of two texts there is one pair, in one of two directions."""
    two = sentences[:2]
    found = interpolation_quality(trained.vae, two, 1, "none")
    candidates = [trained.vae.interpolate(*ends, allow_unknown=True) for ends in (two, two[::-1])]
    words = [[step.split() for step in steps] for steps in candidates]
    edits = [sum(map(edit_distance, steps, steps[1:])) / 6 for steps in words]
    assert found["path_step_edits"] in edits
    steps = candidates[edits.index(found["path_step_edits"])]
    assert found["path_distinct"] == len(set(steps)) / 7
    copies = trained.vae.reconstruct(two, allow_unknown=True)
    assert found["path_ends_exact"] == sum(copy == text for copy, text in zip(copies, two, strict=True)) / 2
    assert (found["path_pairs"], found["path_steps"], found["path_lm_nll"]) == (1, 7, None)


def test_many_pairs(trained, sentences):
    found = interpolation_quality(trained.vae, sentences, 60, "none")
    assert found == interpolation_quality(trained.vae, sentences, 60, "none")
    assert 1 / 7 < found["path_distinct"] <= 1
    assert 0 < found["path_step_edits"] < 4
    copies = trained.vae.reconstruct(sentences)
    assert found["path_ends_exact"] == pytest.approx(
        sum(a == b for a, b in zip(copies, sentences, strict=True)) / len(sentences), abs=0.2
    )
    assert found["path_ends_bleu"] > 30


def test_a_decoder_that_says_one_thing(trained, sentences):
    model = TextVAEModel.from_pretrained(trained.folder)
    with torch.no_grad():
        model.decoder.initial.weight.zero_()
        model.decoder.layers[0].weight_ih_l0[:, -8:] = 0
    found = interpolation_quality(TextVAE(model, trained.vae.tokenizer), sentences, 9, "none")
    assert (found["path_distinct"], found["path_step_edits"]) == (pytest.approx(1 / 7), 0)


def test_nll_under_a_language_model(trained, sentences, tokenizer):
    """Of an untrained one, whose nll of any text is near (tokens) log V."""
    from textvae import TextVAEConfig

    torch.manual_seed(0)
    config = TextVAEConfig(vocab_size=len(trained.vae.tokenizer), latent={"size": 0})
    lm = TextVAE(TextVAEModel(config), trained.vae.tokenizer)
    found = interpolation_quality(trained.vae, sentences, 5, "none", lm, bf16=False)
    split = trained.splits["train"]
    a_text = evaluate_bound(lm.model, split, bf16=False).nll.mean()
    assert found["path_lm_nll"] == pytest.approx(float(a_text), rel=0.2)


def test_through_a_run(trained):
    metrics, *_ = evaluate_run(trained.folder, "test", 1, bf16=False, extras=Extras(paths=4))
    assert metrics["path_pairs"] == 4


def test_a_single_text(trained, sentences):
    with pytest.raises(ValueError, match="--paths: a path joins 2 texts; this split has 1"):
        interpolation_quality(trained.vae, sentences[:1], 3, "none")


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("abc", "abc", 0), ("ab", "ba", 2)],
)
def test_edit_distance(a, b, expected):
    assert edit_distance(a, b) == edit_distance(b, a) == expected


def test_edit_distance_by_its_definition():
    @functools.cache
    def slow(a, b):
        if not a or not b:
            return len(a) + len(b)
        return min(slow(a[1:], b) + 1, slow(a, b[1:]) + 1, slow(a[1:], b[1:]) + (a[0] != b[0]))

    chance = random.Random(0)
    for _ in range(200):
        a, b = ("".join(chance.choices("abc", k=chance.randint(0, 7))) for _ in range(2))
        assert edit_distance(a, b) == slow(a, b)
