"""The bounds: against numerical integration, against each other, and whatever the batches."""

import itertools
import math

import numpy as np
import pytest
import torch
from datasets import Dataset

from tests.contract import disturbed
from textvae import TextVAEConfig, TextVAEModel
from textvae.data import batches
from textvae.evaluation import likelihood
from textvae.evaluation.doctor import gain_from_z
from textvae.evaluation.likelihood import (
    evaluate_bound,
    evaluating,
    importance_weighted_nll,
)
from textvae.evaluation.refine import bound_under, refined_means, refined_posteriors
from textvae.latent import DiagonalGaussian

V = 12


def make_dataset(rows):
    return Dataset.from_dict({"ids": rows, "length": [len(row) - 1 for row in rows]})


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(2)
    return [[1, *torch.randint(5, V, (n,), generator=generator).tolist(), 2] for n in (3, 6, 1, 4, 2, 6, 5, 0)]


@pytest.fixture
def dataset(rows):
    return make_dataset(rows)


def tiny(make_model, latent_size=1, scale=3.0, injection=1.0):
    """A model whose sentences depend on z strongly, so that a wrong weight shows."""
    small = {"kind": "recurrent", "embedding_size": 6, "hidden_size": 6}
    model = disturbed(make_model(small, small, latent_size, V))
    with torch.no_grad():
        for p in model.decoder.parameters():
            p.mul_(scale)
        if latent_size:
            model.decoder.initial.weight.mul_(injection)
    return model


def integrated_nll(model, rows):
    """-log of the integral of p(x|z) p(z) over z, for one latent dimension."""
    grid = torch.linspace(-9, 9, 6001)[:, None]
    nll = []
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([row])
            log_joint = model.prior.log_prob(grid) - model.distortion(ids, torch.ones_like(ids), grid[:, None])[:, 0]
            nll.append(-float(log_joint.double().logsumexp(0) + math.log(18 / 6000)))
    return torch.tensor(nll)


def test_importance_weights_equal_numerical_integration(make_model, rows, dataset):
    model = tiny(make_model, injection=6.0)
    exact = integrated_nll(model, rows)
    estimate = importance_weighted_nll(model, dataset, num_samples=40_000, bf16=False)
    bound = evaluate_bound(model, dataset, num_samples=400, bf16=False).nll
    torch.testing.assert_close(estimate, exact, rtol=0, atol=0.02)
    assert (bound - exact).max() > 0.2  # the one-sample bound would not have passed


def test_importance_weighted_bound_rises_with_the_number_of_samples(make_model, rows):
    """In expectation: 3000 copies of a sentence, each with samples of its own."""
    model, row = tiny(make_model), rows[1]
    copies = make_dataset([row] * 3000)
    exact = float(integrated_nll(model, [row])[0])
    estimates = [importance_weighted_nll(model, copies, k, seed=k, bf16=False).double() for k in (1, 4, 16)]
    means = [float(e.mean()) for e in estimates]
    errors = [float(e.std()) / 3000**0.5 for e in estimates]
    for fewer, more in ((0, 1), (1, 2)):
        assert means[fewer] - means[more] > 3 * (errors[fewer] ** 2 + errors[more] ** 2) ** 0.5
    assert means[2] > exact - 3 * errors[2]
    elbo = evaluate_bound(model, copies, num_samples=4, bf16=False).nll.double()
    assert means[0] == pytest.approx(float(elbo.mean()), abs=4 * errors[0])


def test_fewer_samples_are_the_first_of_the_same(make_model, dataset, monkeypatch):
    """One pass gives the bound at several k, each from the mean weight of the first k samples."""
    monkeypatch.setattr(batches, "TOKENS_AT_ONCE", 60)
    model = tiny(make_model, latent_size=3)
    several = importance_weighted_nll(model, dataset, [1, 3, 7], seed=5, bf16=False)
    assert torch.equal(several[2], importance_weighted_nll(model, dataset, 7, seed=5, bf16=False))
    for index, weights in likelihood.log_importance_weights(model, dataset, 7, seed=5, bf16=False):
        for row, k in enumerate((1, 3, 7)):
            expected = -weights[:k].double().exp().mean(0).log()
            torch.testing.assert_close(several[row, index].double(), expected, rtol=1e-6, atol=1e-6)


def test_one_importance_sample_is_the_one_sample_bound(make_model, dataset):
    """With the same seed: distortion + log q - log p of the very same z."""
    model = tiny(make_model, latent_size=3)
    estimate = importance_weighted_nll(model, dataset, 1, seed=5, bf16=False)
    bound = evaluate_bound(model, dataset, 1, seed=5, bf16=False)
    z = bound.z[None]
    log_q = torch.cat([q.log_prob(part) for q, part in zip(bound.posteriors, z.split(len(dataset), 1), strict=True)], 1)
    expected = bound.distortion.clone()
    expected[bound.order] += (log_q - model.prior.log_prob(z))[0]
    torch.testing.assert_close(estimate, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("num_samples", [1, 7, 130])
def test_importance_samples_are_all_used_in_turns(make_model, dataset, monkeypatch, num_samples):
    """Every text is scored with exactly k samples, however few fit in memory at a time."""
    model, counted = tiny(make_model, latent_size=3), []
    distortion = model.distortion
    monkeypatch.setattr(
        model, "distortion", lambda ids, mask, z: counted.append(z.shape[:2]) or distortion(ids, mask, z)
    )
    monkeypatch.setattr(batches, "TOKENS_AT_ONCE", 60)
    nll = importance_weighted_nll(model, dataset, num_samples, bf16=False)
    assert sum(samples * sentences for samples, sentences in counted) == num_samples * len(dataset)
    assert nll.isfinite().all()


def test_bound_by_hand(make_model, rows, dataset):
    """One text at a time: rate and mean from its own posterior, distortion of its own z."""
    model = tiny(make_model, latent_size=3)
    bound = evaluate_bound(model, dataset, bf16=False)
    z = torch.empty(len(rows), 3)
    z[bound.order] = bound.z
    for index, row in enumerate(rows):
        ids = torch.tensor([row])
        output = model(ids)
        torch.testing.assert_close(bound.rate[index], output.rate[0])
        torch.testing.assert_close(bound.mu[index], output.q.mean[0])
        expected = model.distortion(ids, torch.ones_like(ids), z[None, None, index])[0, 0]
        torch.testing.assert_close(bound.distortion[index], expected)
    torch.testing.assert_close(bound.nll, bound.distortion + bound.rate)
    torch.testing.assert_close(bound.rate_per_dimension.sum(), bound.rate.mean())
    assert sorted(bound.order.tolist()) == list(range(len(rows)))
    posterior_means = torch.cat([q.mean for q in bound.posteriors])
    assert torch.equal(posterior_means, bound.mu[bound.order])


@pytest.mark.parametrize("tokens_at_once", [1, 20, 10_000])
def test_numbers_do_not_depend_on_the_batches(make_model, rows, dataset, monkeypatch, tokens_at_once):
    model = tiny(make_model, latent_size=3)
    with torch.no_grad():
        model.posterior.logvar.weight.zero_()
        model.posterior.logvar.bias.fill_(-60.0)  # z is the mean: nothing is left to chance
    reference = evaluate_bound(model, dataset, bf16=False)
    monkeypatch.setattr(batches, "TOKENS_AT_ONCE", tokens_at_once)
    order = [5, 2, 7, 0, 3, 6, 1, 4]
    for data, back in ((dataset, list(range(8))), (make_dataset([rows[i] for i in order]), order)):
        bound = evaluate_bound(model, data, bf16=False)
        for name in ("rate", "mu", "distortion"):
            expected = getattr(reference, name)[back]
            torch.testing.assert_close(getattr(bound, name), expected, rtol=1e-5, atol=1e-4)


def test_seed_and_more_samples(make_model, dataset):
    model = tiny(make_model, latent_size=3)
    one, two, other = (evaluate_bound(model, dataset, seed=seed, bf16=False) for seed in (0, 0, 1))
    assert torch.equal(one.distortion, two.distortion)
    assert not torch.equal(one.distortion, other.distortion)
    assert torch.equal(one.rate, other.rate)
    many = [evaluate_bound(model, dataset, 300, seed=seed, bf16=False).distortion.mean() for seed in (0, 1)]
    few = [evaluate_bound(model, dataset, 1, seed=seed, bf16=False).distortion.mean() for seed in range(300)]
    spread = torch.stack(few).std()
    assert abs(many[0] - many[1]) < spread
    assert abs(many[0] - torch.stack(few).mean()) < 5 * spread / 300**0.5


def test_precision(make_model, dataset):
    model = tiny(make_model, latent_size=3, scale=1.0)
    exact, fast = (evaluate_bound(model, dataset, bf16=bf16) for bf16 in (False, True))
    assert fast.distortion.dtype == fast.rate.dtype == fast.mu.dtype == torch.float32
    torch.testing.assert_close(fast.nll, exact.nll, rtol=0.02, atol=0.05)
    assert not torch.equal(fast.nll, exact.nll)


def test_importance_weights_equal_the_naive_loop_on_a_hundred_sentences(make_model, monkeypatch):
    """One sentence and one sample at a time, without padding, token by token, for the z that was drawn."""
    model = tiny(make_model, latent_size=3, scale=2.0)
    random = np.random.default_rng(0)
    data = make_dataset([[1, *random.integers(5, V, random.integers(0, 9)).tolist(), 2] for _ in range(100)])
    drawn, distortion = [], model.distortion
    monkeypatch.setattr(model, "distortion", lambda ids, mask, z: drawn.append((ids, z)) or distortion(ids, mask, z))
    seen = 0
    for index, weights in likelihood.log_importance_weights(model, data, 4, bf16=False):
        (_, z), drawn = drawn[-1], []
        for column, row in enumerate(index.tolist()):
            ids = torch.tensor([data[row]["ids"]])
            with torch.no_grad():
                q = model.encode(ids, torch.ones_like(ids))
                posterior = torch.distributions.Normal(q.mu[0], (0.5 * q.logvar[0]).exp())
                for sample in range(4):
                    here = z[sample, column]
                    state, log_p = model.decoder.new_state(), 0.0
                    for now, after in itertools.pairwise(ids[0]):
                        logits = model(now.view(1, 1), z=here[None], past_key_values=state).logits
                        log_p += float(logits[0, -1].double().log_softmax(-1)[after])
                    prior = torch.distributions.Normal(0.0, 1.0).log_prob(here).sum()
                    naive = log_p + float(prior) - float(posterior.log_prob(here).sum())
                    assert float(weights[sample, column]) == pytest.approx(naive, abs=1e-4)
                    seen += 1
    assert seen == 400


def test_importance_weighted_nll_in_bfloat16_is_that_of_float32(trained):
    """Within 0.02 nats on a hundred sentences of a trained model."""
    some = trained.splits["train"].select(range(100))
    full, half = (importance_weighted_nll(trained.vae.model, some, 100, bf16=bf16).mean() for bf16 in (False, True))
    assert full != half
    assert float(half) == pytest.approx(float(full), abs=0.02)


def test_plain_language_model(make_model, rows, dataset):
    model = tiny(make_model, latent_size=0)
    bound = evaluate_bound(model, dataset, bf16=False)
    assert bound.mu is bound.posteriors is bound.z is None
    assert not bound.rate.any()
    expected = torch.stack([model(torch.tensor([row])).distortion[0, 0] for row in rows])
    torch.testing.assert_close(bound.nll, expected.detach())
    assert torch.equal(importance_weighted_nll(model, dataset, 50, bf16=False), bound.nll)
    assert torch.equal(importance_weighted_nll(model, dataset, [1, 50], bf16=False), torch.stack([bound.nll] * 2))


def test_progress_counts_every_text(make_model, dataset, monkeypatch):
    monkeypatch.setattr(batches, "TOKENS_AT_ONCE", 20)
    for function in (evaluate_bound, importance_weighted_nll):
        counted = []
        function(tiny(make_model), dataset, 2, bf16=False, progress=counted.append)
        assert sum(counted) == len(dataset)
        assert len(counted) > 1


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_the_mode_as_it_was(make_model, dataset, training):
    model = tiny(make_model).train(training)
    evaluate_bound(model, dataset, bf16=False)
    importance_weighted_nll(model, dataset, 2, bf16=False)
    assert model.training == training
    assert all(module.training == training for module in model.modules())


def test_evaluating_is_undone_after_an_error(make_model):
    model = make_model().train()
    with evaluating(model):
        assert not model.training
        assert not torch.is_grad_enabled()
    with pytest.raises(ZeroDivisionError), evaluating(model):
        1 / 0  # noqa: B018
    assert model.training
    assert torch.is_grad_enabled()


def test_dropout_is_off(make_model, dataset):
    small = {"kind": "recurrent", "embedding_size": 6, "hidden_size": 6, "dropout": 0.5, "embedding_dropout": 0.5}
    model = make_model(small, small | {"word_dropout": 0.5}, 2, V).train()
    one, two = (evaluate_bound(model, dataset, bf16=False) for _ in range(2))
    assert torch.equal(one.nll, two.nll)
    q = DiagonalGaussian(one.mu, torch.zeros_like(one.mu))
    for measure in (
        lambda: importance_weighted_nll(model, dataset, 3, bf16=False),
        lambda: importance_weighted_nll(model, dataset, 3, bf16=False, posteriors=q),
        lambda: bound_under(model, dataset, q, bf16=False).nll,
        lambda: refined_means(model, dataset, one.mu, 2, bf16=False),
        lambda: refined_posteriors(model, dataset, 2, bf16=False).mu,
        lambda: gain_from_z(model, dataset, one.mu, torch.arange(len(dataset)).flip(0), bf16=False).other_words,
    ):
        assert torch.equal(measure(), measure())
        assert model.training


def test_means_of_a_flow_come_without_gradients(make_model, dataset):
    """They would hold the graph of every batch, and be no array."""
    pytest.importorskip("zuko")
    small = {"kind": "recurrent", "embedding_size": 6, "hidden_size": 6}
    model = TextVAEModel(
        TextVAEConfig(vocab_size=V, encoder=small, latent={"size": 2, "posterior": "flow"}, decoder=small)
    )
    bound = evaluate_bound(model, dataset, bf16=False)
    assert not bound.mu.requires_grad
    assert bound.mu.numpy().shape == (len(dataset), 2)
