"""The negative evidence lower bound, with an annealed weight and free bits. Shapes: S samples, B sentences."""

from __future__ import annotations

import contextlib
from typing import Any, Literal

from pydantic import Field, field_validator

from textvae.objectives.base import UNTRAINED, Objective
from textvae.objectives.constraints import free_bits_penalty
from textvae.objectives.schedules import BetaConfig, beta_at, warmed_up
from textvae.outputs import ObjectiveOutput, TextVAEOutput
from textvae.registry import register
from textvae.validation import Section


class ElboConfig(Section):
    """The negative ELBO.

    Args:
        beta: schedule of the rate's weight; a number stands for a constant one.
        free_bits: total in nats below which the rate is not pushed; 0 turns it off.
        free_bits_per: clamp the total, or each dimension (free_bits is spread evenly).
        free_bits_over: clamp the mean of a batch, whose texts are of like length, or each sentence.
        num_samples: latent samples a sentence.
    """

    beta: BetaConfig = BetaConfig()
    free_bits: float = Field(0.0, ge=0)
    free_bits_per: Literal["total", "dimension"] = "total"
    free_bits_over: Literal["batch", "sentence"] = "batch"
    num_samples: int = Field(1, ge=1)

    @field_validator("beta", mode="before")
    @classmethod
    def _number(cls, value):
        if isinstance(value, str):
            with contextlib.suppress(ValueError):  # YAML reads 1e-3 as text
                value = float(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return {"schedule": "constant", "max": value}
        return value


@register("objective", "elbo", ElboConfig)
class Elbo(Objective):
    """loss = distortion + beta * max(free_bits, rate), in nats a sentence, mean over the batch.

    beta multiplies here and nowhere else; what is logged and evaluated is the unweighted rate.

    Args:
        config: its configuration.
        latent_size: D.

    Source: Kingma & Welling 2014, arXiv 1312.6114, equation 3; beta: Higgins et al. 2017; annealing: Bowman et al.
    2016, arXiv 1511.06349.
    """

    def __init__(self, config: ElboConfig, latent_size: int = 0):
        super().__init__(config, latent_size)
        self.num_samples = config.num_samples

    @classmethod
    def refusal(cls, values: dict[str, Any], posterior: type, prior: type) -> str | None:
        """Free bits of each dimension need a rate that is a sum over dimensions, a learned prior needs a rate."""
        if prior.learned and not values["beta"]["max"]:
            return UNTRAINED
        each = values["free_bits"] and values["free_bits_per"] == "dimension" and posterior.has_density
        if each and not (posterior.by_dimension and prior.by_dimension):
            return (
                "free_bits_per: dimension needs a rate that is a sum over dimensions, as that of a gaussian posterior "
                "with the standard prior; set objective.free_bits_per=total"
            )
        return None

    @property
    def selects_by(self) -> str:
        """The quantity that checkpoints are compared by: the bound, or distortion where the rate has no weight."""
        return "nll" if self.config.beta.max > 0 else "distortion"

    def warmed_up(self, progress: float) -> bool:
        """Whether beta has reached its final value."""
        return warmed_up(self.config.beta, progress)

    def forward(self, output: TextVAEOutput, progress: float) -> ObjectiveOutput:
        """The loss at a moment of training.

        Args:
            output: the model's.
            progress: share of training done, in [0,1].

        Returns:
            The scalar loss and beta.
        """
        config = self.config
        beta = beta_at(config.beta, progress)
        distortion = output.distortion.mean()
        if output.q is None or output.rate is None:  # a language model, a posterior without density
            return ObjectiveOutput(distortion, beta)
        # Before beta is looked at, so that what cannot be clamped is refused at the first step.
        rate = free_bits_penalty(
            output.rate, output.rate_per_dimension, config.free_bits, config.free_bits_per, config.free_bits_over
        )
        return ObjectiveOutput(distortion + beta * rate if beta else distortion, beta)
