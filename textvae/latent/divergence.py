"""KL(q||p), in closed form where one exists and by Monte Carlo where none does.

Shapes: S samples, B sentences, D latent dimensions.
"""

from __future__ import annotations

from torch import Tensor

from textvae.latent.posteriors import DiagonalGaussian
from textvae.latent.priors import StandardNormal


def kl_to_standard_normal(q: DiagonalGaussian) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, 1)) of each dimension.

    Returns:
        (B,D), in nats.

    Source: Kingma & Welling 2014, arXiv 1312.6114, appendix B.
    """
    return 0.5 * (q.mu**2 + q.logvar.exp() - 1 - q.logvar)


def kl(q, p, log_q: Tensor, log_p: Tensor) -> tuple[Tensor, Tensor | None]:
    """The rate.

    Args:
        q: posterior.
        p: prior.
        log_q: (S,B) log q(z|x) of samples from q.
        log_p: (S,B) log p(z) of the same samples.

    Returns:
        rate (B,), and its terms by dimension (B,D) where it factorises, else None.
    """
    if isinstance(q, DiagonalGaussian) and isinstance(p, StandardNormal):
        per_dimension = kl_to_standard_normal(q)
        return per_dimension.sum(-1), per_dimension
    return (log_q - log_p).mean(0), None
