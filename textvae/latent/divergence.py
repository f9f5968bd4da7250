"""KL(q||p), in closed form where one exists and by Monte Carlo where none does.

Shapes: S samples, B sentences, D latent dimensions.
"""

from __future__ import annotations

from torch import Tensor

from textvae.latent.posteriors import DiagonalGaussian
from textvae.latent.power_spherical import PowerSpherical
from textvae.latent.priors import StandardNormal
from textvae.latent.sphere import UniformSphere
from textvae.latent.von_mises_fisher import VonMisesFisher


def kl_to_standard_normal(q: DiagonalGaussian) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, 1)) of each dimension.

    Returns:
        (B,D), in nats.

    Source: Kingma & Welling 2014, arXiv 1312.6114, appendix B.
    """
    return 0.5 * (q.mu**2 + q.logvar.exp() - 1 - q.logvar)


def kl(q, p, log_q: Tensor | None, log_p: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The rate.

    Args:
        q: posterior.
        p: prior.
        log_q: (S,B) log q(z|x) of samples from q; None where q has no density.
        log_p: (S,B) log p(z) of the same samples.

    Returns:
        rate (B,), None where q has no density; and its terms by dimension (B,D) where it factorises, else None.
    """
    if log_q is None:
        return None, None
    if isinstance(q, DiagonalGaussian) and isinstance(p, StandardNormal):
        per_dimension = kl_to_standard_normal(q)
        return per_dimension.sum(-1), per_dimension
    if isinstance(q, VonMisesFisher) and isinstance(p, UniformSphere):
        return q.mu.new_full((len(q.mu),), q.rate), None
    if isinstance(q, PowerSpherical) and isinstance(p, UniformSphere):
        return q.rate, None
    return (log_q - log_p).mean(0), None
