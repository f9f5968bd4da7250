"""Approximate posteriors q(z|x): a head that turns the encoder's summary into a distribution object.

Shapes: S samples, B sentences, H encoder summary, D latent dimensions.

Contract of the distribution: `mean (B,D)`, `rsample(S, generator) -> (S,B,D)`, `log_prob(z (S,B,D)) -> (S,B)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from textvae.registry import register
from textvae.validation import Section


@dataclass(frozen=True)
class DiagonalGaussian:
    """Gaussian with a diagonal covariance, one a sentence.

    Args:
        mu: (B,D) means.
        logvar: (B,D) logarithms of the variances.
    """

    mu: Tensor
    logvar: Tensor

    @property
    def mean(self) -> Tensor:
        """(B,D)."""
        return self.mu

    def rsample(self, num_samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Reparameterised samples, z = mu + exp(logvar / 2) * eps.

        Args:
            num_samples: S.
            generator: source of randomness; the global one when None.

        Returns:
            (S,B,D).

        Source: Kingma & Welling 2014, arXiv 1312.6114, section 2.4.
        """
        shape = (num_samples, *self.mu.shape)
        eps = torch.randn(shape, generator=generator, dtype=self.mu.dtype, device=self.mu.device)
        return self.mu + (0.5 * self.logvar).exp() * eps

    def log_prob(self, z: Tensor, stop_gradient: bool = False) -> Tensor:
        """log q(z|x) in nats.

        Args:
            z: (S,B,D).
            stop_gradient: keep the gradient from reaching mu and logvar (for doubly reparameterised estimators).

        Returns:
            (S,B).
        """
        mu, logvar = (self.mu.detach(), self.logvar.detach()) if stop_gradient else (self.mu, self.logvar)
        return -0.5 * (math.log(2 * math.pi) + logvar + (z - mu) ** 2 * (-logvar).exp()).sum(-1)


class GaussianConfig(Section):
    """The diagonal Gaussian has no keys of its own."""


@register("posterior", "gaussian", GaussianConfig)
class GaussianPosterior(nn.Module):
    """q(z|x) = N(mu(x), diag(exp(logvar(x)))).

    Args:
        config: no keys.
        input_size: H.
        latent_size: D.

    Source: Kingma & Welling 2014, arXiv 1312.6114, equation 9; for sentences Bowman et al. 2016, arXiv 1511.06349.
    """

    def __init__(self, config: GaussianConfig, input_size: int, latent_size: int):
        super().__init__()
        self.mu = nn.Linear(input_size, latent_size)
        self.logvar = nn.Linear(input_size, latent_size)

    def forward(self, summary: Tensor) -> DiagonalGaussian:
        """(B,H) -> q, in float32 whatever the compute dtype."""
        with torch.autocast(summary.device.type, enabled=False):
            summary = summary.float()
            return DiagonalGaussian(self.mu(summary), self.logvar(summary))
