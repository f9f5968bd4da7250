"""Posteriors q(z|x), priors p(z) and the divergence between them."""

from textvae.latent.deterministic import DeterministicPosterior, Point
from textvae.latent.divergence import kl, kl_to_standard_normal
from textvae.latent.flow import FlowedGaussian, FlowPosterior, FlowPrior
from textvae.latent.mixture import MixturePrior, VampPrior
from textvae.latent.posteriors import DiagonalGaussian, GaussianPosterior
from textvae.latent.power_spherical import PowerSpherical, PowerSphericalPosterior
from textvae.latent.priors import StandardNormal
from textvae.latent.sphere import UniformSphere
from textvae.latent.von_mises_fisher import VonMisesFisher, VonMisesFisherPosterior

__all__ = [
    "DeterministicPosterior",
    "DiagonalGaussian",
    "FlowPosterior",
    "FlowPrior",
    "FlowedGaussian",
    "GaussianPosterior",
    "MixturePrior",
    "Point",
    "PowerSpherical",
    "PowerSphericalPosterior",
    "StandardNormal",
    "UniformSphere",
    "VampPrior",
    "VonMisesFisher",
    "VonMisesFisherPosterior",
    "kl",
    "kl_to_standard_normal",
]
