"""Priors p(z).

Contract: `sample(n, generator, device, scale) -> (n,D)`, scale a factor on the noise (the sphere, where there is none,
lacks it); `log_prob(z (...,D)) -> (...)`; `support` (euclidean or sphere; None for that of the posterior) and `learned`
(whether it has parameters, which learn from the rate).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from textvae.registry import register
from textvae.validation import Section


def log_standard_normal(z: Tensor) -> Tensor:
    """log N(z; 0, I) in nats, (...,D) -> (...)."""
    return -0.5 * (math.log(2 * math.pi) + z**2).sum(-1)


class StandardNormalConfig(Section):
    """The standard normal has no keys."""


@register("prior", "standard", StandardNormalConfig)
class StandardNormal(nn.Module):
    """p(z) = N(0, I).

    Args:
        config: no keys.
        latent_size: D.
    """

    support = "euclidean"
    learned = False
    by_dimension = True

    def __init__(self, config: StandardNormalConfig, latent_size: int):
        super().__init__()
        self.latent_size = latent_size

    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        device: torch.device | None = None,
        scale: float = 1.0,
    ) -> Tensor:
        """Draws (n,D) latent vectors; `scale` is a factor on the noise."""
        return scale * torch.randn(n, self.latent_size, generator=generator, device=device)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats, (...,D) -> (...)."""
        return log_standard_normal(z)
