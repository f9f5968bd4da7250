"""The importance-weighted bound, with a gradient that keeps its signal. Shapes: S samples, B sentences."""

from __future__ import annotations

import math
from typing import Any

from pydantic import Field

from textvae.objectives.base import NO_RATE, Objective
from textvae.outputs import ObjectiveOutput, TextVAEOutput
from textvae.registry import register
from textvae.validation import Section


class IwaeConfig(Section):
    """The importance-weighted bound.

    Args:
        num_samples: latent samples a sentence; the decoder's work grows with it.
    """

    num_samples: int = Field(5, ge=1)


@register("objective", "iwae", IwaeConfig)
class Iwae(Objective):
    """loss = -log (1/S) sum over S samples of w, w = p(x|z) p(z) / q(z|x), in nats a sentence, mean over the batch.

    Decoder and prior follow its gradient, sum of v * d log w, with v = w / sum of w. The encoder follows the doubly
    reparameterised one, sum of v^2 * (d log w / dz) (dz / d encoder), which has the same mean and far less variance:
    its share of signal to noise rises with S, where that of the plain gradient falls. With one sample the loss is the
    negative ELBO of a sample and the gradient is that of the negative ELBO in expectation.

    Args:
        config: its configuration.
        latent_size: D.

    Source: Burda et al. 2016, arXiv 1509.00519, equation 8 (the bound); Tucker et al. 2019, arXiv 1810.04152,
    equation 6 (the gradient).
    """

    hooks_z = True

    @classmethod
    def refusal(cls, values: dict[str, Any], posterior: type, prior: type) -> str | None:
        """It needs a rate."""
        return None if posterior.has_density else NO_RATE

    def __init__(self, config: IwaeConfig, latent_size: int = 0):
        super().__init__(config, latent_size)
        self.num_samples = config.num_samples

    def forward(self, output: TextVAEOutput, progress: float) -> ObjectiveOutput:
        """The loss.

        Args:
            output: the model's. A hook is set on its z, which must have been drawn for this loss alone.
            progress: not used.

        Returns:
            The scalar loss and a beta of 1.
        """
        if output.q is None:
            return ObjectiveOutput(output.distortion.mean(), 0.0)
        z = output.z
        log_weight = output.log_p - output.distortion - output.q.log_prob(z, stop_gradient=True)
        share = log_weight.detach().softmax(0)
        if z.requires_grad:
            # What reaches the encoder has passed through z, with a share already on it.
            z.register_hook(lambda gradient: gradient * share[..., None])
        loss = math.log(len(z)) - log_weight.logsumexp(0)
        return ObjectiveOutput(loss.mean(), 1.0)
