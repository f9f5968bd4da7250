"""The Power Spherical posterior: a direction, and a concentration for each text.

Shapes: S samples, B sentences, H encoder summary, D latent dimensions.
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class PowerSpherical:
    """p(z) proportional to (1 + mu.z)^kappa on the unit sphere, one a sentence.

    Args:
        mu: (B,D) mean directions, unit vectors.
        concentration: (B,) kappa.

    Source: De Cao & Aziz 2020, arXiv 2006.04437, equation 3.
    """

    mu: Tensor
    concentration: Tensor

    def __getitem__(self, rows) -> PowerSpherical:
        return PowerSpherical(self.mu[rows], self.concentration[rows])

    @property
    def mean(self) -> Tensor:
        """(B,D) the mean direction, which lies on the sphere; the expectation of z is a shorter vector along it."""
        return self.mu

    def _alpha_beta(self) -> tuple[Tensor, Tensor]:
        """(1 + mu.z) / 2 has the law Beta(alpha, beta). float64, since the normaliser is a difference."""
        kappa = self.concentration.double()
        half = 0.5 * (self.mu.shape[-1] - 1)
        return half + kappa, torch.full_like(kappa, half)

    @property
    def log_normaliser(self) -> Tensor:
        """(B,) the logarithm of what (1 + mu.z)^kappa is multiplied by, float64.

        Source: De Cao & Aziz 2020, equation 4.
        """
        alpha, beta = self._alpha_beta()
        log_total = (alpha + beta) * math.log(2) + beta * math.log(math.pi)
        return torch.lgamma(alpha + beta) - torch.lgamma(alpha) - log_total

    @property
    def rate(self) -> Tensor:
        """(B,) KL(q || uniform on the sphere) in nats: the logarithm of the sphere's area less the entropy.

        Source: De Cao & Aziz 2020, equations 9 and 12.
        """
        alpha, beta = self._alpha_beta()
        expected_log = math.log(2) + torch.digamma(alpha) - torch.digamma(alpha + beta)  # of 1 + mu.z
        entropy = -self.log_normaliser - self.concentration * expected_log
        return (log_area(self.mu.shape[-1]) - entropy).to(self.mu.dtype)

    def rsample(self, num_samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Exact samples without rejection, differentiable in mu and in the concentration.

        Args:
            num_samples: S.
            generator: source of randomness; the global one when None.

        Returns:
            (S,B,D) unit vectors.

        Source: De Cao & Aziz 2020, arXiv 2006.04437, algorithm 1; around mu as in `VonMisesFisher.rsample`.
        """
        shape = (num_samples, len(self.mu))
        alpha, beta = (x.expand(shape) for x in self._alpha_beta())
        _, complement = beta_variables(alpha, beta, generator)
        return point_at(self.mu, 2 * complement, standard_normal((*shape, self.mu.shape[1]), self.mu, generator))

    def log_prob(self, z: Tensor, stop_gradient: bool = False) -> Tensor:
        """log q(z|x) in nats, with respect to the area of the sphere.

        Args:
            z: (S,B,D) unit vectors.
            stop_gradient: keep the gradient from reaching mu and the concentration.

        Returns:
            (S,B).
        """
        q = PowerSpherical(self.mu.detach(), self.concentration.detach()) if stop_gradient else self
        # log (1 + mu.z) / 2 from the distance to the nearer of mu and -mu, which keeps all its digits; log 2 goes to
        # the normaliser, which nearly cancels it where kappa is large.
        near, far = ((z - sign * q.mu).square().sum(-1) / 4 for sign in (1, -1))
        log_half = torch.where(
            near < 0.5, torch.log1p(-near.clamp_max(0.5)), far.clamp_min(torch.finfo(z.dtype).tiny).log()
        )
        return (q.log_normaliser + q.concentration.double() * math.log(2)).to(z.dtype) + q.concentration * log_half


class PowerSphericalConfig(Section):
    """The Power Spherical posterior.

    Args:
        concentration: of every text where training starts; what is learned is a factor on it.
    """

    concentration: float = Field(50.0, gt=0, le=1e5)


@register("posterior", "power_spherical", PowerSphericalConfig)
class PowerSphericalPosterior(nn.Module):
    """q(z|x) = PowerSpherical(mu(x) / |mu(x)|, kappa(x)).

    The concentration is c softplus(w.h + b) / softplus(0) with c from the configuration: positive, and near c at first.
    The paper adds 1 to a softplus; a scale reaches concentrations of hundreds without large weights.

    Args:
        config: the concentration at first.
        input_size: H.
        latent_size: D.

    Relation: close to von Mises-Fisher in shape; without Bessel functions and rejection, so that the concentration,
    and with it the rate, can be learned.

    Source: De Cao & Aziz 2020, arXiv 2006.04437.
    """

    support = "sphere"
    has_density = True
    by_dimension = False
    fixed_width = False

    def __init__(self, config: PowerSphericalConfig, input_size: int, latent_size: int):
        super().__init__()
        self.initial = config.concentration
        self.mu = nn.Linear(input_size, latent_size)
        self.concentration = nn.Linear(input_size, 1)

    def forward(self, summary: Tensor) -> PowerSpherical:
        """(B,H) -> q, in float32 whatever the compute dtype."""
        with torch.autocast(summary.device.type, enabled=False):
            summary = summary.float()
            factor = F.softplus(self.concentration(summary)[:, 0]) / math.log(2)
            return PowerSpherical(F.normalize(self.mu(summary), dim=-1), self.initial * factor)
