"""Priors that are mixtures: of learned Gaussians, and of posteriors.

Shapes: K components, H encoder summary, D latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from textvae.latent.posteriors import DiagonalGaussian
from textvae.registry import register
from textvae.validation import Section


class MixtureConfig(Section):
    """A mixture of Gaussians.

    Args:
        components: K.
    """

    components: int = Field(20, ge=1)


@register("prior", "mixture", MixtureConfig)
class MixturePrior(nn.Module):
    """p(z) = sum_k w_k N(mu_k, diag(exp(logvar_k))), all learned.

    Args:
        config: the number of components.
        latent_size: D.

    Source: Dilokthanakul et al. 2016, arXiv 1611.02648 (the marginal of their prior); the baseline MoG of Tomczak &
    Welling 2018, arXiv 1705.07120, section 4.
    """

    support = "euclidean"
    learned = True
    by_dimension = False

    def __init__(self, config: MixtureConfig, latent_size: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(config.components))
        self.mu = nn.Parameter(torch.randn(config.components, latent_size))
        self.logvar = nn.Parameter(torch.zeros(config.components, latent_size))

    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        device: torch.device | None = None,
        scale: float = 1.0,
    ) -> Tensor:
        """Draws (n,D) latent vectors, on the device of the weights.

        Args:
            n: how many.
            generator, device: source of randomness, and where the noise is drawn.
            scale: factor on the noise of a component, not on where it lies.
        """
        weights = self.logits.softmax(0).to(device or "cpu")
        component = torch.multinomial(weights, n, replacement=True, generator=generator).to(self.mu.device)
        noise = torch.randn(n, self.mu.shape[1], generator=generator, device=device).to(self.mu.device)
        return self.mu[component] + scale * (0.5 * self.logvar[component]).exp() * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats, (...,D) -> (...)."""
        components = DiagonalGaussian(self.mu, self.logvar).log_prob(z[..., None, :])
        return (components + self.logits.log_softmax(0)).logsumexp(-1)


class VampConfig(Section):
    """The VampPrior.

    Args:
        components: K, the number of pseudo-inputs.
    """

    components: int = Field(50, ge=1)


@register("prior", "vamp", VampConfig)
class VampPrior(nn.Module):
    """p(z) = 1/K sum_k q(z|u_k): a mixture of posteriors at learned pseudo-inputs.

    Tomczak & Welling learn pseudo-inputs in the space of the data. A text is discrete and has no gradient, so u_k
    stands here where the encoder's summary of a text would stand, and only the posterior's head is shared with the
    encoder.

    Args:
        config: the number of pseudo-inputs.
        latent_size: D.

    Source: Tomczak & Welling 2018, arXiv 1705.07120, equation 10.
    """

    support = None  # that of the posterior
    learned = True
    by_dimension = False

    def __init__(self, config: VampConfig, latent_size: int):
        super().__init__()
        self.components = config.components

    def attach(self, input_size: int, posterior_of: Callable[[Tensor], Any]) -> None:
        """Makes the pseudo-inputs.

        Args:
            input_size: H.
            posterior_of: summaries (K,H) -> q, the posterior's head as it is in evaluation.
        """
        self.posterior_of = posterior_of
        self.pseudo_inputs = nn.Parameter(torch.randn(self.components, input_size))

    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        device: torch.device | None = None,
        scale: float = 1.0,
    ) -> Tensor:
        """Draws (n,D) latent vectors, on the device of the weights.

        Args:
            n: how many.
            generator, device: source of randomness, and where the component is drawn.
            scale: factor on the noise of a component, not on where it lies.
        """
        component = torch.randint(self.components, (n,), generator=generator, device=device)
        q = self.posterior_of(self.pseudo_inputs[component.to(self.pseudo_inputs.device)])
        z = q.rsample(1, generator)[0]
        return z if scale == 1 else q.mean + scale * (z - q.mean)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats, (...,D) -> (...)."""
        components = self.posterior_of(self.pseudo_inputs).log_prob(z[..., None, :])
        return components.logsumexp(-1) - math.log(self.components)
