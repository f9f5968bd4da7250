"""Posteriors q(z|x), priors p(z) and the divergence between them."""

from textvae.latent.divergence import kl, kl_to_standard_normal
from textvae.latent.posteriors import DiagonalGaussian, GaussianPosterior
from textvae.latent.priors import StandardNormal

__all__ = ["DiagonalGaussian", "GaussianPosterior", "StandardNormal", "kl", "kl_to_standard_normal"]
