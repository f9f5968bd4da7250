"""The diagonal Gaussian against torch.distributions."""

import pytest
import torch
from torch.distributions import Independent, Normal

from textvae.latent import DiagonalGaussian

S, B, D = 3, 5, 4


@pytest.fixture
def q():
    generator = torch.Generator().manual_seed(0)
    return DiagonalGaussian(torch.randn(B, D, generator=generator), torch.randn(B, D, generator=generator))


def theirs(q):
    return Independent(Normal(q.mu, (0.5 * q.logvar).exp()), 1)


def test_log_prob(q):
    z = torch.randn(S, B, D, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(q.log_prob(z), theirs(q).log_prob(z), rtol=1e-5, atol=1e-5)


def test_moments_of_samples(q):
    z = q.rsample(40_000, torch.Generator().manual_seed(2))
    std = (0.5 * q.logvar).exp()
    assert ((z.mean(0) - q.mu).abs() < 5 * std / 200).all()
    torch.testing.assert_close(z.std(0), std, rtol=0.02, atol=0)


def test_samples_are_reparameterised(q):
    """dz/dmu is 1 and dz/dlogvar is half of z - mu."""
    q = DiagonalGaussian(q.mu.requires_grad_(), q.logvar.requires_grad_())
    z = q.rsample(1, torch.Generator().manual_seed(3))[0]
    by_mu, by_logvar = torch.autograd.grad(z.sum(), (q.mu, q.logvar))
    torch.testing.assert_close(by_mu, torch.ones(B, D))
    torch.testing.assert_close(by_logvar, 0.5 * (z - q.mu).detach())


def test_mean(q):
    assert torch.equal(q.mean, q.mu)
