"""The adversarial autoencoder. Shapes: B sentences, D latent dimensions."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from pydantic import Field
from torch import nn

from textvae.freezing import frozen
from textvae.objectives.base import UNTRAINED, Objective
from textvae.outputs import ObjectiveOutput, TextVAEOutput
from textvae.registry import register
from textvae.validation import Section


class AdversarialConfig(Section):
    """The adversarial autoencoder.

    Args:
        weight: of the encoder's loss against the discriminator.
        hidden_size: of the discriminator's two hidden layers.
        learning_rate: of the discriminator.
    """

    weight: float = Field(10.0, gt=0)
    hidden_size: int = Field(512, ge=1)
    learning_rate: float = Field(5e-4, gt=0)


@register("objective", "adversarial", AdversarialConfig)
class Adversarial(Objective):
    """loss = distortion - weight * log C(z), z from q(z|x), in nats a sentence, mean over the batch.

    The discriminator C tells samples of the prior from samples of the aggregated posterior; in the same step it
    follows the gradient of -log C(z prior) - log(1 - C(z)), by an optimizer of its own. The rate has no weight, and
    checkpoints are compared by distortion.

    Args:
        config: its configuration.
        latent_size: D; with 0 there is no discriminator.

    Source: Makhzani et al. 2015, arXiv 1511.05644, section 2; for sentences Shen et al. 2020, arXiv 1905.12777, with
    their weight.
    """

    selects_by = "distortion"

    @classmethod
    def refusal(cls, values: dict[str, Any], posterior: type, prior: type) -> str | None:
        """The prior's draws are what the encoder is to imitate."""
        return UNTRAINED if prior.learned else None

    def __init__(self, config: AdversarialConfig, latent_size: int = 0):
        super().__init__(config, latent_size)
        self.learning_rate = config.learning_rate
        if latent_size:
            hidden = config.hidden_size
            layers = [nn.Linear(latent_size, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
            self.discriminator = nn.Sequential(*layers, nn.Linear(hidden, 1))

    def forward(self, output: TextVAEOutput, progress: float) -> ObjectiveOutput:
        """The loss.

        Args:
            output: the model's.
            progress: not used.

        Returns:
            The scalar loss of the model, to whose gradient that of the discriminator is added; a beta of 0; and the
            loss of the discriminator for the log (2 log 2 = 1.39 where it cannot tell).
        """
        distortion = output.distortion.mean()
        if output.q is None:
            return ObjectiveOutput(distortion, 0.0)
        z = output.z[0]
        prior = output.sample_prior(len(z)).detach()
        with frozen(self.discriminator.parameters()):
            fooling = F.softplus(-self.discriminator(z)).mean()
        own = F.softplus(-self.discriminator(prior)).mean() + F.softplus(self.discriminator(z.detach())).mean()
        # No parameter has a part in both: one backward pass serves both optimizers.
        loss = distortion + self.config.weight * fooling + (own - own.detach())
        return ObjectiveOutput(loss, 0.0, {"discriminator_loss": own.detach()})
