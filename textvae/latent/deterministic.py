"""The deterministic posterior: a point. Shapes: S samples, B sentences, H encoder summary, D latent dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from textvae.registry import register
from textvae.validation import Section


@dataclass(frozen=True)
class Point:
    """All mass in one point, one a sentence. It has no density, so there is no log_prob and no rate.

    Args:
        mu: (B,D).
    """

    mu: Tensor

    def __getitem__(self, rows) -> Point:
        return Point(self.mu[rows])

    @property
    def mean(self) -> Tensor:
        """(B,D)."""
        return self.mu

    def rsample(self, num_samples: int, generator: torch.Generator | None = None) -> Tensor:
        """The point, S times: (S,B,D). Nothing is drawn from the generator."""
        return self.mu.expand(num_samples, *self.mu.shape)


class DeterministicConfig(Section):
    """The deterministic posterior has no keys."""


@register("posterior", "deterministic", DeterministicConfig)
class DeterministicPosterior(nn.Module):
    """z = mu(x): a plain autoencoder, or the encoder of an adversarial or an MMD autoencoder.

    Args:
        config: no keys.
        input_size: H.
        latent_size: D.

    Source: Tolstikhin et al. 2018, arXiv 1711.01558, section 2 (deterministic encoders); for sentences Zhao et al.
    2018, arXiv 1706.04223, and Shen et al. 2020, arXiv 1905.12777.
    """

    support = "euclidean"
    has_density = False
    by_dimension = False
    fixed_width = False

    def __init__(self, config: DeterministicConfig, input_size: int, latent_size: int):
        super().__init__()
        self.mu = nn.Linear(input_size, latent_size)

    def forward(self, summary: Tensor) -> Point:
        """(B,H) -> q, in float32 whatever the compute dtype."""
        with torch.autocast(summary.device.type, enabled=False):
            return Point(self.mu(summary.float()))
