"""Priors fitted to latent vectors."""

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from textvae import registry
from textvae.latent import fitted as module
from textvae.latent.fitted import FITTED, FittedPrior, fit_prior, prior_to_fit

TRUTH = MixtureSameFamily(
    Categorical(torch.tensor([0.2, 0.3, 0.5])),
    Independent(
        Normal(torch.tensor([[-6.0, 40.0], [0.0, 50.0], [5.0, 45.0]]), torch.tensor([[1.0, 2], [0.5, 1], [1, 4]])), 1
    ),
)


@pytest.fixture(scope="module")
def z():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TRUTH.sample((6000,))


def test_mixture_finds_a_mixture(z):
    """As likely as the truth itself, on vectors it has not seen, and its samples have their moments."""
    before = torch.get_rng_state()
    fitted = fit_prior(z[:4000], "mixture", components=6).requires_grad_(False)
    assert torch.equal(torch.get_rng_state(), before)
    held_out = z[4000:]
    assert float(fitted.log_prob(held_out).mean()) == pytest.approx(float(TRUTH.log_prob(held_out).mean()), abs=0.05)
    samples = fitted.sample(20_000, torch.Generator().manual_seed(1)).detach()
    torch.testing.assert_close(samples.mean(0), z.mean(0), rtol=0.02, atol=0.2)
    torch.testing.assert_close(samples.T.cov(), z.T.cov(), rtol=0.1, atol=0.6)


def test_one_component_is_the_gaussian_of_the_moments(z):
    prior = fit_prior(z, "mixture", components=1)
    expected = Independent(Normal(z.mean(0), z.std(0, correction=0)), 1).log_prob(z[:50])
    torch.testing.assert_close(prior.log_prob(z[:50]), expected, rtol=1e-3, atol=1e-3)


def test_flow_beats_a_gaussian(z, monkeypatch):
    monkeypatch.setattr(module, "STEPS", 150)
    monkeypatch.setattr(module, "BATCH", 128)
    with torch.no_grad():
        flow = fit_prior(z[:4000], "flow").log_prob(z[4000:]).mean()
        gaussian = fit_prior(z[:4000], "mixture", components=1).log_prob(z[4000:]).mean()
    assert gaussian + 0.2 < flow < TRUTH.log_prob(z[4000:]).mean() + 0.02


def test_vectors_that_do_not_vary_in_a_dimension(z):
    flat = torch.cat([z[:100], torch.full((100, 1), 3.0)], 1)
    fitted = fit_prior(flat, "mixture", components=4)
    assert fitted.log_prob(flat).isfinite().all()
    torch.testing.assert_close(fitted.sample(5)[:, 2], torch.full((5,), 3.0), rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", ["mixture", "flow"])
def test_save_and_load(kind, z, tmp_path):
    config = registry.resolve("prior", kind, "prior")
    torch.manual_seed(0)
    fitted = FittedPrior(config, 2)
    fitted.mean.copy_(z.mean(0))
    fitted.save(tmp_path)
    copy = FittedPrior.load(tmp_path / FITTED)
    torch.testing.assert_close(copy.log_prob(z), fitted.log_prob(z))
    one, two = (prior.sample(9, torch.Generator().manual_seed(3)) for prior in (fitted, copy))
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (9, {"components": 10}, "components: 10 is not allowed with 9 vectors"),
        (9, {"components": 0}, "components: 0 is not allowed"),
        (9, {"kind": "mixtur"}, "kind: 'mixtur' is not known; known: flow, mixture"),
        (1, {"components": 1}, "1 latent vectors are too few"),
    ],
)
def test_mistakes(z, rows, options, message):
    with pytest.raises(ValueError, match=message):
        fit_prior(z[:rows], **options)


@pytest.mark.parametrize("kind", ["mixture", "flow"])
def test_the_seed_decides(z, kind, monkeypatch):
    monkeypatch.setattr(module, "STEPS", 10)
    one, same, other = (fit_prior(z[:300], kind, seed=seed).prior.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert any(not torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("size", [1, 2])
def test_a_flow_begins_as_the_gaussian_of_the_moments(z, monkeypatch, size):
    z = z[:, :size]
    monkeypatch.setattr(module, "_maximum_likelihood", lambda *_: None)
    expected = Independent(Normal(z.mean(0), z.std(0)), 1).log_prob(z[:50])
    torch.testing.assert_close(fit_prior(z, "flow").log_prob(z[:50]), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("count", "components"), [(2, 1), (59, 2), (1000, 50), (6000, 50)])
def test_how_many_components_a_small_corpus_has(count, components):
    assert prior_to_fit(count, "mixture")["components"] == components


def test_a_component_with_a_single_vector_is_no_point():
    """Others from the same source are still to be expected: with points they would be thousands of nats away."""
    rows = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
    fitted = fit_prior(rows[:100], "mixture", components=50)
    standard = Independent(Normal(torch.zeros(16), torch.ones(16)), 1)
    assert fitted.log_prob(rows[100:]).mean() > standard.log_prob(rows[100:]).mean() - 6
