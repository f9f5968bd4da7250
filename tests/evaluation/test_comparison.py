"""The gap to the language model: the same texts, the right unit, an error bar that holds."""

import math

import pytest
import torch

from tests.tiny import tiny_recipe, train_tiny
from textvae import evaluate_run
from textvae.evaluation.comparison import common_units, paired, per_byte
from textvae.evaluation.likelihood import evaluate_bound
from textvae.evaluation.run import Extras

LM = ("model.latent.size=0", "training.max_steps=60")


@pytest.fixture(scope="module")
def lm(corpus_file, tmp_path_factory):
    """A language model beside the run of the other tests."""
    return train_tiny(tiny_recipe(corpus_file, tmp_path_factory.mktemp("runs") / "lm", *LM))


@pytest.fixture(scope="module")
def characters(corpus_file, tmp_path_factory):
    """One with another vocabulary, which gives these texts back."""
    folder = tmp_path_factory.mktemp("runs") / "characters"
    return train_tiny(tiny_recipe(corpus_file, folder, *LM, "tokenizer.kind=char", "training.max_steps=5"))


def test_same_vocabulary(trained, lm):
    """Means of differences text by text."""
    metrics, *_ = evaluate_run(trained.folder, "test", 5, bf16=False, extras=Extras(against=lm.folder))
    plain, *_ = evaluate_run(trained.folder, "test", 5, bf16=False)
    ours = evaluate_bound(trained.vae.model, trained.splits["test"], bf16=False).nll
    theirs = evaluate_bound(lm.vae.model, trained.splits["test"], bf16=False).nll
    assert metrics["against"] == str(lm.folder)
    assert metrics["lm_nll"] == pytest.approx(float(theirs.mean()), rel=1e-5)
    assert metrics["gap_nll"] == pytest.approx(metrics["nll"] - metrics["lm_nll"], rel=1e-4)
    assert metrics["gap_iw_nll"] == pytest.approx(metrics["iw_nll"] - metrics["lm_nll"], rel=1e-4)
    assert metrics["gap_nll_stderr"] == pytest.approx(float((ours - theirs).std()) / len(ours) ** 0.5, rel=1e-4)
    total = sum(len(text.encode()) for text in trained.splits["test"]["text"])
    bits = (metrics["iw_nll"] - metrics["lm_nll"]) * len(ours) / math.log(2) / total
    assert metrics["gap_bits_per_byte"] == pytest.approx(bits, rel=1e-4)
    assert {key: metrics[key] for key in plain} | {"seconds": 0} == plain | {"seconds": 0}


def test_a_language_model_against_itself(lm):
    metrics, *_ = evaluate_run(lm.folder, "test", 1, bf16=False, extras=Extras(against=lm.folder))
    for key in ("gap_nll", "gap_nll_stderr", "gap_iw_nll", "gap_bits_per_byte", "gap_bits_per_byte_stderr"):
        assert metrics[key] == 0


def test_other_vocabulary(trained, characters):
    """Nats of other tokens are another unit for a reader; bits per byte are not."""
    metrics, *_ = evaluate_run(trained.folder, "test", 5, bf16=False, extras=Extras(against=characters.folder))
    theirs, *_ = evaluate_run(characters.folder, "test", 1, bf16=False)
    ours = metrics["iw_nll"] * metrics["bits_per_byte"] / metrics["nll"]
    assert metrics["gap_bits_per_byte"] == pytest.approx(ours - theirs["bits_per_byte"], rel=1e-4)
    assert metrics["lm_nll"] is metrics["gap_nll"] is metrics["gap_iw_nll"] is metrics["gap_nll_stderr"] is None


def test_texts_that_do_not_come_back_and_another_vocabulary(trained, characters):
    dataset = trained.splits["test"].select(range(3))
    dataset = dataset.map(lambda row: {"text": row["text"] + " zebra"})
    with pytest.raises(ValueError, match="the vocabularies differ and at least one has no way back"):
        common_units(trained.vae, dataset, characters.vae)


def test_refusals(trained, lm, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("".join(f"the cat sees number {i}\n" for i in range(300)))
    stranger = train_tiny(tiny_recipe(other, tmp_path / "stranger", *LM, "training.max_steps=1"))
    for folder, message in (
        (stranger.folder, "was trained on other texts"),
        (trained.folder, "has 8 latent dimensions; wanted a plain language model"),
        (tmp_path, "is not a run"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate_run(trained.folder, "test", 1, extras=Extras(against=folder))


def test_paired():
    mean, error = paired(torch.tensor([3.0, 5.0, 10.0]), torch.tensor([1.0, 4.0, 7.0]))
    assert (mean, error) == (pytest.approx(2), pytest.approx((1 / 3) ** 0.5))
    assert paired(torch.tensor([3.0]), torch.tensor([1.0])) == (2, None)


def test_per_byte_by_simulation():
    """The standard error is the spread of the quotient over many samples of texts."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(2000):
        size = torch.randint(20, 120, (200,), generator=generator)
        nats = 0.3 * size + torch.randn(200, generator=generator) * size.float().sqrt()
        found.append(per_byte(nats, size))
    ratios, errors = torch.tensor(found).T
    assert float(ratios.mean()) == pytest.approx(0.3 / math.log(2), rel=0.01)
    assert float(errors.mean()) == pytest.approx(float(ratios.std()), rel=0.06)
