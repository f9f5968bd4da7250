"""The standard normal prior against torch.distributions."""

import torch
from torch.distributions import Independent, Normal

from textvae import registry


def test_log_prob():
    prior = registry.build("prior", "standard", 4)
    z = 3 * torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    expected = Independent(Normal(torch.zeros(4), torch.ones(4)), 1).log_prob(z)
    torch.testing.assert_close(prior.log_prob(z), expected, rtol=1e-5, atol=1e-5)


def test_moments_of_samples():
    z = registry.build("prior", "standard", 3).sample(40_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(z.mean(0), torch.zeros(3), rtol=0, atol=0.025)
    torch.testing.assert_close(z.T.cov(), torch.eye(3), rtol=0, atol=0.04)
