"""The unit sphere in D dimensions: its area, points around a direction, and the uniform prior on it.

Shapes: S samples, B sentences, D latent dimensions.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textvae.latent.noise import standard_normal
from textvae.registry import register
from textvae.validation import Section


def log_area(dimensions: int) -> float:
    """log of the surface of the unit sphere in so many dimensions, 2 pi^(D/2) / Gamma(D/2)."""
    return math.log(2) + 0.5 * dimensions * math.log(math.pi) - math.lgamma(0.5 * dimensions)


def point_at(mu: Tensor, one_minus_cosine: Tensor, noise: Tensor) -> Tensor:
    """Points at a given distance from a direction, in the direction of the noise's part that is orthogonal to it.

    Args:
        mu: (B,D) unit vectors.
        one_minus_cosine: (S,B) 1 - cos of the angle to mu; small values keep all their digits.
        noise: (S,B,D) standard normal, so that the tangent direction is uniform.

    Returns:
        (S,B,D) unit vectors, differentiable in mu and one_minus_cosine.
    """
    tangent = noise
    for _ in range(2):  # once would leave rounding errors along mu where the noise is nearly parallel to it
        tangent = F.normalize(tangent - (tangent * mu).sum(-1, keepdim=True) * mu, dim=-1)
    # The square root has no gradient at 0, which a draw can round to.
    one_minus_cosine = one_minus_cosine.clamp_min(torch.finfo(one_minus_cosine.dtype).tiny)[..., None]
    sine = (one_minus_cosine * (2 - one_minus_cosine)).sqrt()
    return (1 - one_minus_cosine).to(mu.dtype) * mu + sine.to(mu.dtype) * tangent


class UniformConfig(Section):
    """The uniform prior has no keys."""


@register("prior", "uniform", UniformConfig)
class UniformSphere(nn.Module):
    """p(z) = 1 / area of the unit sphere.

    Args:
        config: no keys.
        latent_size: D.

    Source: Davidson et al. 2018, arXiv 1804.00891, section 3; for sentences Xu & Durrett 2018, arXiv 1808.10805.
    """

    support = "sphere"
    learned = False
    by_dimension = False

    def __init__(self, config: UniformConfig, latent_size: int):
        super().__init__()
        self.latent_size = latent_size

    def sample(self, n: int, generator: torch.Generator | None = None, device: torch.device | None = None) -> Tensor:
        """Draws (n,D) unit vectors."""
        noise = standard_normal((n, self.latent_size), torch.empty(0, device=device), generator)
        return F.normalize(noise, dim=-1)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats, the same everywhere on the sphere, (...,D) -> (...)."""
        return z.new_full(z.shape[:-1], -log_area(self.latent_size))
