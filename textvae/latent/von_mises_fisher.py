"""The von Mises-Fisher posterior: a direction, with a concentration that is chosen and stays.

Shapes: S samples, B sentences, H encoder summary, D latent dimensions.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from textvae.latent.noise import beta_variables, standard_normal
from textvae.latent.sphere import log_area, point_at
from textvae.registry import register
from textvae.validation import Section


@functools.cache
def log_bessel(order: float, x: float) -> float:
    """log I_order(x), the modified Bessel function of the first kind.

    The power series, all of whose terms are positive, summed around its largest term in float64: no overflow and no
    change of method in any order and at any x.

    Args:
        order: at least 0.
        x: positive.

    Source: Abramowitz & Stegun 1964, 9.6.10.
    """
    largest = 0.5 * (math.hypot(order, x) - order)
    reach = (
        12 * math.sqrt(largest + 1) + 50
    )  # the terms fall off as a Gaussian of deviation sqrt(largest / 2), or faster
    k = torch.arange(max(0, int(largest - reach)), int(largest + reach), dtype=torch.float64, device="cpu")
    terms = (2 * k + order) * math.log(0.5 * x) - torch.lgamma(k + 1) - torch.lgamma(k + order + 1)
    return float(terms.logsumexp(0))


@dataclass(frozen=True)
class VonMisesFisher:
    """p(z) = C_D(kappa) exp(kappa mu.z) on the unit sphere, one a sentence.

    Args:
        mu: (B,D) mean directions, unit vectors.
        concentration: kappa, the same for all sentences.
    """

    mu: Tensor
    concentration: float

    def __getitem__(self, rows) -> VonMisesFisher:
        return VonMisesFisher(self.mu[rows], self.concentration)

    @property
    def mean(self) -> Tensor:
        """(B,D) the mean direction, which lies on the sphere; the expectation of z is a shorter vector along it."""
        return self.mu

    @property
    def log_normaliser(self) -> float:
        """log C_D(kappa)."""
        d, kappa = self.mu.shape[-1], self.concentration
        order = 0.5 * d - 1
        return order * math.log(kappa) - 0.5 * d * math.log(2 * math.pi) - log_bessel(order, kappa)

    @property
    def rate(self) -> float:
        """KL(q || uniform on the sphere) in nats, which depends on the concentration alone.

        Source: Davidson et al. 2018, arXiv 1804.00891, equation 13.
        """
        d, kappa = self.mu.shape[-1], self.concentration
        expected_cosine = math.exp(log_bessel(0.5 * d, kappa) - log_bessel(0.5 * d - 1, kappa))
        return kappa * expected_cosine + self.log_normaliser + log_area(d)

    def rsample(self, num_samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Samples: the cosine to mu by rejection, the direction around mu uniformly.

        As the concentration is fixed, the law of the cosine has no parameters and the path from mu to z carries the
        whole gradient; the correction for a learned concentration in Davidson et al. has no place here. They turn the
        first axis to mu by a reflection; here the noise is projected on the plane orthogonal to mu instead, which has
        the same law and no singular direction.

        Args:
            num_samples: S.
            generator: source of randomness; the global one when None.

        Returns:
            (S,B,D) unit vectors.

        Source: Ulrich 1984; Wood 1994; Davidson et al. 2018, arXiv 1804.00891, algorithm 1.
        """
        shape = (num_samples, len(self.mu))
        one_minus_cosine = self._one_minus_cosine(shape[0] * shape[1], generator).view(shape)
        return point_at(self.mu, one_minus_cosine, standard_normal((*shape, self.mu.shape[1]), self.mu, generator))

    def _one_minus_cosine(self, n: int, generator: torch.Generator | None) -> Tensor:
        """(n,) draws of 1 - mu.z by rejection, float64."""
        kappa, m, device = self.concentration, self.mu.shape[-1] - 1, self.mu.device
        b = m / (2 * kappa + math.hypot(2 * kappa, m))
        x0 = (1 - b) / (1 + b)
        c = kappa * x0 + m * math.log(4 * b / (1 + b) ** 2)  # 1 - x0^2, without cancellation
        drawn = torch.empty(n, dtype=torch.float64, device=device)
        left = torch.arange(n, device=device)
        while len(left):
            half = torch.full((len(left),), 0.5 * m, dtype=torch.float64, device=device)
            eps, _ = beta_variables(half, half, generator)
            source = generator.device if generator else device
            u = torch.rand(len(left), generator=generator, dtype=torch.float64, device=source).to(device)
            proposal = 2 * b * eps / (1 - (1 - b) * eps)
            accepted = kappa * (1 - proposal) + m * torch.log1p(-x0 * (1 - proposal)) - c >= torch.log(u)
            drawn[left[accepted]] = proposal[accepted]
            left = left[~accepted]
        return drawn

    def log_prob(self, z: Tensor, stop_gradient: bool = False) -> Tensor:
        """log q(z|x) in nats, with respect to the area of the sphere.

        Args:
            z: (S,B,D) unit vectors.
            stop_gradient: keep the gradient from reaching mu.

        Returns:
            (S,B).
        """
        mu, kappa = (self.mu.detach() if stop_gradient else self.mu), self.concentration
        # kappa mu.z as kappa less half the squared distance: no digits are lost where kappa is large.
        return (kappa + self.log_normaliser) - 0.5 * kappa * (z - mu).square().sum(-1)


class VonMisesFisherConfig(Section):
    """The von Mises-Fisher posterior.

    Args:
        concentration: kappa; the rate follows from it and from the size of z alone, and is the same for every text.
    """

    concentration: float = Field(80.0, gt=0, le=1e6)


@register("posterior", "vmf", VonMisesFisherConfig)
class VonMisesFisherPosterior(nn.Module):
    """q(z|x) = vMF(mu(x) / |mu(x)|, kappa).

    Args:
        config: the concentration.
        input_size: H.
        latent_size: D.

    Relation: with the uniform prior the rate is a constant, so it cannot vanish and there is nothing to anneal; the
    concentration sets it. `power_spherical` learns a concentration for each text.

    Source: Xu & Durrett 2018, arXiv 1808.10805, section 3; Davidson et al. 2018, arXiv 1804.00891.
    """

    support = "sphere"
    has_density = True
    by_dimension = False
    fixed_width = True  # so is its rate to the uniform prior

    def __init__(self, config: VonMisesFisherConfig, input_size: int, latent_size: int):
        super().__init__()
        self.concentration = config.concentration
        self.mu = nn.Linear(input_size, latent_size)

    def forward(self, summary: Tensor) -> VonMisesFisher:
        """(B,H) -> q, in float32 whatever the compute dtype."""
        with torch.autocast(summary.device.type, enabled=False):
            return VonMisesFisher(F.normalize(self.mu(summary.float()), dim=-1), self.concentration)
