"""Refined posteriors against the best Gaussian, found on a grid, and what is measured with them."""

import math

import numpy as np
import pytest
import torch

from tests.evaluation.test_likelihood import integrated_nll, make_dataset, tiny
from textvae.evaluation import refine
from textvae.evaluation.likelihood import evaluate_bound, importance_weighted_nll
from textvae.evaluation.refine import bound_under, refined_means, refined_posteriors

ROW = [1, 7, 9, 5, 11, 2]


@pytest.fixture(scope="module")
def copies():
    """One sentence many times, each with noise of its own."""
    return make_dataset([ROW] * 200)


def refined_bound(model, dataset, steps, bf16=None):
    """The bound after gradient steps, at a sample that no step has seen."""
    return bound_under(model, dataset, refined_posteriors(model, dataset, steps, 1, bf16), bf16=bf16)


def best_gaussian(model):
    """The least negative ELBO over mu and logvar, and its rate; the expectation by quadrature."""
    nodes, weights = (torch.from_numpy(a).float() for a in np.polynomial.hermite_e.hermegauss(40))
    weights, ids = weights / weights.sum(), torch.tensor([ROW])
    best = (math.inf, None)
    for logvar in torch.linspace(-5, 1, 41):
        mu = torch.linspace(-4, 4, 81)
        z = (mu[:, None] + (0.5 * logvar).exp() * nodes).reshape(-1, 1, 1)
        with torch.no_grad():
            distortion = (model.distortion(ids, torch.ones_like(ids), z).view(81, 40) * weights).sum(1)
        rate = 0.5 * (mu**2 + logvar.exp() - 1 - logvar)
        nll, place = (distortion + rate).min(0)
        best = min(best, (nll.item(), rate[place].item()))
    return best


def test_reaches_the_best_gaussian(make_model, copies):
    model = tiny(make_model, injection=6.0)
    with torch.no_grad():  # an encoder that is wrong about this sentence
        model.posterior.mu.bias += 1.5
        model.posterior.logvar.bias -= 1.5
    nll, rate = best_gaussian(model)
    amortised = evaluate_bound(model, copies, 20, bf16=False).nll.mean().item()
    refined = refined_bound(model, copies, 300, bf16=False)
    assert amortised - nll > 0.3  # there is something to gain
    error = refined.nll.std().item() / len(copies) ** 0.5
    assert refined.nll.mean().item() == pytest.approx(nll, abs=4 * error + 0.05)
    assert refined.rate.mean().item() == pytest.approx(rate, abs=0.2)
    assert refined.nll.mean().item() > integrated_nll(model, [ROW]).item() - 4 * error


def wrong_encoder(make_model):
    """A model whose posteriors lie where the texts do not."""
    model = tiny(make_model, injection=6.0)
    with torch.no_grad():
        model.posterior.mu.bias += 1.5
        model.posterior.logvar.bias += 1
    return model


@pytest.mark.parametrize("samples", [1, 10, 100])
def test_importance_weights_of_refined_posteriors_equal_numerical_integration(make_model, samples):
    """Whatever the number of steps, weights are unbiased; after some they hardly spread."""
    model = wrong_encoder(make_model)
    many, exact = make_dataset([ROW] * 500), integrated_nll(model, [ROW]).item()
    q = {n: refined_posteriors(model, many, n, bf16=False) for n in (0, 1, 40)}
    bounds = {n: importance_weighted_nll(model, many, samples, 3, False, posteriors=q[n]) for n in q}
    assert torch.equal(bounds[0], importance_weighted_nll(model, many, samples, 3, False))  # the encoder's own
    for bound in bounds.values():
        p = (-bound.double()).exp()
        assert p.mean().item() == pytest.approx(math.exp(-exact), abs=4 * p.std().item() / len(p) ** 0.5)
    assert bounds[40].mean().item() - exact < 0.2 * (bounds[0].mean().item() - exact)
    assert bounds[40].var() < 0.1 * bounds[0].var()


def test_vectors_of_a_split_are_those_of_its_batches(make_model, monkeypatch):
    """In the order of the split, however it is cut into batches."""
    model = tiny(make_model, latent_size=3, injection=3.0)
    rows = [[1, *range(5, 5 + length), 2] for length in (3, 6, 1, 5)]
    dataset, mu = make_dataset(rows), torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    together = refined_means(model, dataset, mu, 5, bf16=False)
    monkeypatch.setattr("textvae.data.batches.TOKENS_AT_ONCE", 1)
    torch.testing.assert_close(refined_means(model, dataset, mu, 5, bf16=False), together, atol=1e-4, rtol=1e-4)
    assert torch.equal(refined_means(model, dataset, mu, 0, bf16=False), mu)


def test_without_steps_it_is_the_encoder_s_bound(make_model, copies):
    model = tiny(make_model, latent_size=3)
    refined, bound = (f(model, copies, n, bf16=False) for f, n in ((refined_bound, 0), (evaluate_bound, 1)))
    torch.testing.assert_close(refined.rate, bound.rate)
    torch.testing.assert_close(refined.nll, bound.nll)  # the same sample


def test_the_model_stays_as_it_is(make_model, copies):
    model = tiny(make_model).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    refined_bound(model, copies.select(range(3)), 2, bf16=False)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_what_evaluation_adds(trained, monkeypatch):
    """Copies of refined vectors, and bounds under refined posteriors, not under those of the encoder."""
    model, data = trained.vae.model, trained.splits["validation"]
    mu = evaluate_bound(model, data, bf16=False).mu
    decoded, reconstruct = [], refine.reconstruction
    monkeypatch.setattr(refine, "reconstruction", lambda vae, z, *rest: decoded.append(z) or reconstruct(vae, z, *rest))
    found = refine.refined_metrics(trained.vae, data, mu, 3, 4, bf16=False)
    q = refined_posteriors(model, data, 3, 2, bf16=False)
    bound = bound_under(model, data, q, bf16=False)
    assert found["refined_nll"] == pytest.approx(float(bound.nll.mean()), rel=1e-5)
    assert found["refined_rate"] == pytest.approx(float(bound.rate.mean()), rel=1e-5)
    iw = importance_weighted_nll(model, data, 4, 1, bf16=False, posteriors=q)
    assert found["refined_iw_nll"] == pytest.approx(float(iw.mean()), rel=1e-5)
    torch.testing.assert_close(decoded[0], refined_means(model, data, mu, 3, bf16=False))
    assert (decoded[0] - mu).abs().max() > 0.1


def test_a_plain_language_model_has_nothing_to_refine(make_model, copies):
    with pytest.raises(ValueError, match="plain language model"):
        refined_bound(tiny(make_model, latent_size=0), copies, 1)
