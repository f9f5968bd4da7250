"""The rate: closed form against torch.distributions, and Monte Carlo where there is no closed form."""

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from textvae import registry
from textvae.latent import DiagonalGaussian, kl, kl_to_standard_normal

B, D = 6, 4


@pytest.fixture
def q():
    generator = torch.Generator().manual_seed(0)
    return DiagonalGaussian(2 * torch.randn(B, D, generator=generator), torch.randn(B, D, generator=generator))


@pytest.fixture
def prior():
    return registry.build("prior", "standard", D)


def test_equals_torch_distributions(q):
    expected = kl_divergence(Normal(q.mu, (0.5 * q.logvar).exp()), Normal(torch.zeros(D), torch.ones(D)))
    torch.testing.assert_close(kl_to_standard_normal(q), expected, rtol=1e-5, atol=1e-5)


def test_of_the_prior_itself_is_zero():
    assert not kl_to_standard_normal(DiagonalGaussian(torch.zeros(B, D), torch.zeros(B, D))).any()


def test_closed_form_does_not_depend_on_the_samples(q, prior):
    rate, per_dimension = kl(q, prior, torch.full((1, B), 7.0), torch.full((1, B), -7.0))
    assert torch.equal(per_dimension, kl_to_standard_normal(q))
    assert torch.equal(rate, per_dimension.sum(1))


def test_monte_carlo_where_there_is_no_closed_form(q):
    """A prior that is a shifted Gaussian: not known to `kl`, so it averages, and comes near the exact value."""

    class Shifted(nn.Module):
        def log_prob(self, z):
            return Normal(torch.full((D,), 0.5), torch.full((D,), 2.0)).log_prob(z).sum(-1)

    z = q.rsample(60_000, torch.Generator().manual_seed(1))
    log_q, log_p = q.log_prob(z), Shifted().log_prob(z)
    rate, per_dimension = kl(q, Shifted(), log_q, log_p)
    exact = kl_divergence(Normal(q.mu, (0.5 * q.logvar).exp()), Normal(torch.tensor(0.5), torch.tensor(2.0))).sum(1)
    assert per_dimension is None
    assert ((rate - exact).abs() < 5 * (log_q - log_p).std(0) / 60_000**0.5).all()
