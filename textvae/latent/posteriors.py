"""Approximate posteriors q(z|x): a head that turns the encoder's summary into a distribution object.

Shapes: S samples, B sentences, H encoder summary, D latent dimensions.

Contract of the distribution: `mean (B,D)`, the vector that stands for a sentence (on the sphere the mean direction);
`rsample(S, generator) -> (S,B,D)`; `log_prob(z (S,B,D)) -> (S,B)`; `q[rows]`, that of some sentences. A head says where
z lies (`support`: euclidean or sphere) and whether q has a density (`has_density`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from textvae.latent.noise import standard_normal
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

    def __getitem__(self, rows) -> DiagonalGaussian:
        return DiagonalGaussian(self.mu[rows], self.logvar[rows])

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
        eps = standard_normal((num_samples, *self.mu.shape), self.mu, generator)
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
    """The diagonal Gaussian.

    Args:
        batch_norm: gamma, the standard deviation that mu is given over the batch in each dimension (BN-VAE; the paper
            takes 0.3 to 0.7), which keeps the rate above D gamma^2 / 2; null for none.
    """

    batch_norm: float | None = Field(None, gt=0)


@register("posterior", "gaussian", GaussianConfig)
class GaussianPosterior(nn.Module):
    """q(z|x) = N(mu(x), diag(exp(logvar(x)))).

    Args:
        config: whether mu is normalised over the batch.
        input_size: H.
        latent_size: D.

    Source: Kingma & Welling 2014, arXiv 1312.6114, equation 9; for sentences Bowman et al. 2016, arXiv 1511.06349;
    `batch_norm`: Zhu et al. 2020, arXiv 2004.12585, section 4 (scale fixed, shift learned).
    """

    support = "euclidean"
    has_density = True
    by_dimension = True
    fixed_width = False

    def __init__(self, config: GaussianConfig, input_size: int, latent_size: int):
        super().__init__()
        self.mu = nn.Linear(input_size, latent_size)
        self.logvar = nn.Linear(input_size, latent_size)
        self.gamma = config.batch_norm
        if self.gamma:
            self.norm = nn.BatchNorm1d(latent_size, affine=False)
            self.shift = nn.Parameter(torch.zeros(latent_size))

    def forward(self, summary: Tensor) -> DiagonalGaussian:
        """(B,H) -> q, in float32 whatever the compute dtype."""
        with torch.autocast(summary.device.type, enabled=False):
            summary = summary.float()
            return DiagonalGaussian(self._normalised(self.mu(summary)), self.logvar(summary))

    def _normalised(self, mu: Tensor) -> Tensor:
        """mu (B,D) with deviation gamma around a learned shift: over the batch in training, on average otherwise."""
        if not self.gamma:
            return mu
        if self.training and len(mu) == 1:  # a single text, such as the rest of an epoch, has no deviation
            return (
                self.gamma * (mu - self.norm.running_mean) * (self.norm.running_var + self.norm.eps).rsqrt()
                + self.shift
            )
        return self.gamma * self.norm(mu) + self.shift
