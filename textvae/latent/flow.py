"""Normalising flows, after a Gaussian posterior and as a prior. They need zuko.

Coupling layers, whose two directions cost the same: samples have a density in one pass, and so has any other z, which
the aggregated posterior asks for.

Shapes: S samples, B sentences, H encoder summary, D latent dimensions, C context.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from textvae.freezing import frozen
from textvae.latent.posteriors import DiagonalGaussian
from textvae.latent.priors import log_standard_normal
from textvae.registry import register
from textvae.validation import Section


class FlowConfig(Section):
    """A normalising flow.

    Args:
        transform: of a coordinate, given the others: affine (RealNVP) or spline (rational-quadratic, 8 bins; it leaves
            alone what is beyond -5 and 5).
        num_layers: coupling layers; each changes every other coordinate.
        hidden_size: of the two hidden layers of each coupling's network.
    """

    transform: Literal["affine", "spline"] = "affine"
    num_layers: int = Field(4, ge=1)
    hidden_size: int = Field(64, ge=1)


class FlowPosteriorConfig(FlowConfig):
    """A flow after a Gaussian posterior.

    Args:
        context_size: features of the encoder's summary that every layer of the flow sees.
    """

    context_size: int = Field(32, ge=1)


def require_zuko() -> None:
    """Raises an ImportError that says what to install where zuko is not there."""
    try:
        import zuko.flows.coupling  # noqa: F401
    except ImportError:
        raise ImportError("flow needs the package zuko: pip install zuko") from None


def coupling_layers(config: FlowConfig, size: int, context: int = 0) -> nn.Module:
    """The flow, from z to Gaussian noise.

    Args:
        config: its configuration.
        size: D.
        context: C.

    Returns:
        zuko's lazy transform: called with a context (...,C) or None it gives the transform.

    Raises:
        ImportError: zuko is not installed.

    Source: Dinh et al. 2017, arXiv 1605.08803, section 3; splines: Durkan et al. 2019, arXiv 1906.04032.
    """
    require_zuko()
    from zuko.flows.coupling import GeneralCouplingTransform
    from zuko.lazy import LazyComposedTransform
    from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform

    if config.transform == "affine":
        univariate, shapes = MonotonicAffineTransform, ((), ())
    else:
        univariate, shapes = MonotonicRQSTransform, ((8,), (8,), (7,))
    hidden = (config.hidden_size, config.hidden_size)
    # zuko reads numbers off its masks, which from_pretrained would leave empty.
    with torch.device("cpu"):
        flow = LazyComposedTransform(
            *(
                GeneralCouplingTransform(
                    size,
                    context,
                    mask=[(place + layer) % 2 == 0 for place in range(size)],
                    univariate=univariate,
                    shapes=shapes,
                    hidden_features=hidden,
                )
                for layer in range(config.num_layers)
            )
        )
    for layer in flow.transforms:
        # Training begins at the identity, that is with a Gaussian.
        linear = [module for module in layer.modules() if isinstance(getattr(module, "weight", None), nn.Parameter)]
        for module in linear[-1:]:
            module.starts_at_zero = True
        for module in layer.modules():
            if isinstance(module, nn.ParameterList):  # of a single dimension there is no network
                for parameter in module:
                    nn.init.zeros_(parameter)
    return flow


@dataclass(frozen=True)
class FlowedGaussian:
    """f(z0; context) with z0 from a diagonal Gaussian, one a sentence.

    Args:
        base: the Gaussian of z0.
        context: (B,C).
        flow: from z to z0.
    """

    base: DiagonalGaussian
    context: Tensor
    flow: nn.Module

    def __getitem__(self, rows) -> FlowedGaussian:
        return FlowedGaussian(self.base[rows], self.context[rows], self.flow)

    @property
    def mean(self) -> Tensor:
        """(B,D) the image of the Gaussian's mean: what stands for a sentence. The expectation has no closed form."""
        with torch.autocast(self.context.device.type, enabled=False):
            return self.flow(self.context).inv(self.base.mu)

    def rsample(self, num_samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Reparameterised samples.

        Args:
            num_samples: S.
            generator: source of randomness; the global one when None.

        Returns:
            (S,B,D).

        Source: Rezende & Mohamed 2015, arXiv 1505.05770, section 3.
        """
        z0 = self.base.rsample(num_samples, generator)
        with torch.autocast(z0.device.type, enabled=False):
            return self.flow(self.context.expand(*z0.shape[:-1], -1)).inv(z0)

    def log_prob(self, z: Tensor, stop_gradient: bool = False) -> Tensor:
        """log q(z|x) in nats, by the change of variables.

        Args:
            z: (S,B,D).
            stop_gradient: keep the gradient from reaching the encoder and the flow.

        Returns:
            (S,B).

        Source: Rezende & Mohamed 2015, arXiv 1505.05770, equation 5.
        """
        context = self.context.detach() if stop_gradient else self.context
        shape = torch.broadcast_shapes(z.shape[:-1], context.shape[:-1])
        with torch.autocast(z.device.type, enabled=False), frozen(self.flow.parameters() if stop_gradient else ()):
            z0, log_det = self.flow(context.expand(*shape, -1)).call_and_ladj(z.expand(*shape, -1))
        return self.base.log_prob(z0, stop_gradient) + log_det


@register("posterior", "flow", FlowPosteriorConfig)
class FlowPosterior(nn.Module):
    """q(z|x): a diagonal Gaussian, moved by a flow that reads the sentence.

    Args:
        config: its configuration.
        input_size: H.
        latent_size: D.

    Raises:
        ImportError: zuko is not installed.

    Relation: a flow that did not read the sentence would be the same as a Gaussian posterior under a flow prior.

    Source: Rezende & Mohamed 2015, arXiv 1505.05770; that the flow reads the encoder: Kingma et al. 2016,
    arXiv 1606.04934. Theirs is autoregressive; coupling layers also give the density of a z they have not drawn.
    """

    support = "euclidean"
    has_density = True
    by_dimension = False
    fixed_width = False

    def __init__(self, config: FlowPosteriorConfig, input_size: int, latent_size: int):
        super().__init__()
        self.mu = nn.Linear(input_size, latent_size)
        self.logvar = nn.Linear(input_size, latent_size)
        self.context = nn.Linear(input_size, config.context_size)
        self.flow = coupling_layers(config, latent_size, config.context_size)

    def forward(self, summary: Tensor) -> FlowedGaussian:
        """(B,H) -> q, in float32 whatever the compute dtype."""
        with torch.autocast(summary.device.type, enabled=False):
            summary = summary.float()
            base = DiagonalGaussian(self.mu(summary), self.logvar(summary))
            return FlowedGaussian(base, self.context(summary), self.flow)


@register("prior", "flow", FlowConfig)
class FlowPrior(nn.Module):
    """p(z): a learned flow of standard normal noise.

    Args:
        config: its configuration.
        latent_size: D.

    Raises:
        ImportError: zuko is not installed.

    Source: Chen et al. 2017, arXiv 1611.02731, section 3.2 (there autoregressive; here coupling layers).
    """

    support = "euclidean"
    learned = True
    by_dimension = False

    def __init__(self, config: FlowConfig, latent_size: int):
        super().__init__()
        self.latent_size = latent_size
        self.flow = coupling_layers(config, latent_size)

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
            scale: factor on the noise, before the flow.
        """
        noise = torch.randn(n, self.latent_size, generator=generator, device=device)
        with torch.autocast(noise.device.type, enabled=False):
            return self.flow().inv(scale * noise.to(next(self.parameters()).device))

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats, (...,D) -> (...)."""
        with torch.autocast(z.device.type, enabled=False):
            noise, log_det = self.flow().call_and_ladj(z)
        return log_standard_normal(noise) + log_det
