"""A rate that is asked for, by a Lagrange multiplier. Shapes: S samples, B sentences."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from textvae.objectives.base import NO_RATE, Objective
from textvae.outputs import ObjectiveOutput, TextVAEOutput
from textvae.registry import register
from textvae.validation import Section

# Validation rates this near to the one that was asked for count as reached.
TOLERANCE = 0.05
# The rates of training and validation are no further apart than this ratio; when they move fast, they seem so.
MOST_APART = 2.0
# Weight of the newest update in the average of training rates, once there are a hundred.
NEWEST = 0.01


class TargetRateConfig(Section):
    """The negative ELBO under a constraint on the rate.

    Args:
        rate: in nats a sentence, to be reached on validation.
        constraint: at_least (the multiplier stays at 0 or above, so that a higher rate costs what it costs), or equal.
        multiplier_learning_rate: step of the multiplier where the rate is off by all that was asked for, or by more.
        num_samples: latent samples a sentence.
    """

    rate: float = Field(8.0, gt=0)
    constraint: Literal["at_least", "equal"] = "at_least"
    multiplier_learning_rate: float = Field(0.02, gt=0)
    num_samples: int = Field(1, ge=1)


@register("objective", "target_rate", TargetRateConfig)
class TargetRate(Objective):
    """loss = distortion + rate - multiplier * (rate - target), in nats a sentence, mean over the batch.

    The model descends, the multiplier ascends: multiplier += step * (target - rate) / rate asked for, at most a step,
    after each update, with the rate of all its sentences. What the rate costs is beta = 1 - multiplier, which for an
    equality may rise above 1.

    What was asked for is the rate on validation, where no dropout acts and weights are averaged. At each evaluation
    the target of training becomes the rate asked for, times the ratio of the rates of training and validation.
    Only checkpoints whose validation rate fulfils the constraint, within 5 %, are compared.

    Args:
        config: its configuration.
        latent_size: D.

    Source: Pelsmaeker & Aziz 2020, arXiv 1904.08194, section 3 (minimum desired rate); Rezende & Viola 2018, arXiv
    1810.00597 (GECO; there the constraint is on the distortion). Four things are ours: the target of validation; the
    multiplier starts at 1, so that training begins as an autoencoder's and not with a collapse; it stays at 1 or
    below, because a model that is paid for its rate (beta below 0) buys it where it says nothing; and its steps are in
    shares of what was asked for, since the rate moves in shares too: beta changes a rate of 32 sixteen times as much as
    one of 2.
    """

    @classmethod
    def refusal(cls, values: dict[str, Any], posterior: type, prior: type) -> str | None:
        """It needs a rate, and one that training can change."""
        if not posterior.has_density:
            return NO_RATE
        if posterior.fixed_width and not prior.learned:
            return "its rate is a constant, which model.latent.posterior.concentration alone sets"
        return None

    def __init__(self, config: TargetRateConfig, latent_size: int = 0):
        super().__init__(config, latent_size)
        self.num_samples = config.num_samples
        self.register_buffer("multiplier", torch.ones(()))
        self.register_buffer("ratio", torch.ones(()))  # of the rate of training to that of validation
        self.register_buffer("training_rate", torch.zeros(()))
        self.register_buffer("updates", torch.zeros(()))

    @property
    def target(self) -> Tensor:
        """Of training, in nats a sentence."""
        return self.config.rate * self.ratio

    def feasible(self, rate: float) -> bool:
        """Whether a validation rate fulfils the constraint, within 5 %."""
        asked = self.config.rate
        enough = rate >= (1 - TOLERANCE) * asked
        return enough and (self.config.constraint == "at_least" or rate <= (1 + TOLERANCE) * asked)

    def after_step(self, rate: Tensor) -> None:
        """A step of gradient ascent on the multiplier."""
        self.updates += 1
        self.training_rate.lerp_(rate.detach().to(self.training_rate), torch.clamp(1 / self.updates, min=NEWEST))
        off = ((self.target - rate.detach()) / self.config.rate).clamp(-1, 1)
        self.multiplier += self.config.multiplier_learning_rate * off
        # A weight of the rate above 5 would take long to come back from, once the rate is lower than asked for.
        lowest = 0.0 if self.config.constraint == "at_least" else -4.0
        self.multiplier.clamp_(lowest, 1.0)

    def after_evaluation(self, rate: float) -> None:
        """Moves the target of training by the ratio of its rate to that of validation."""
        self.ratio.copy_((self.training_rate / max(rate, 1e-6)).clamp(1 / MOST_APART, MOST_APART))

    def forward(self, output: TextVAEOutput, progress: float) -> ObjectiveOutput:
        """The loss at a moment of training.

        Args:
            output: the model's.
            progress: not used; the multiplier has no schedule.

        Returns:
            The scalar loss, beta = 1 - multiplier, and the multiplier and the target of training for the log.
        """
        distortion, beta = output.distortion.mean(), 1 - self.multiplier
        if output.q is None:
            return ObjectiveOutput(distortion, 0.0)
        rate = output.rate.mean()
        loss = distortion + rate - self.multiplier * (rate - self.target)
        return ObjectiveOutput(loss, float(beta), {"multiplier": self.multiplier, "target_rate": self.target})
