"""InfoVAE: the aggregated posterior, rather than each posterior, is held to the prior. Shapes: B sentences."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from textvae.latent import PowerSpherical, VonMisesFisher
from textvae.objectives.base import NO_RATE, UNTRAINED, Objective
from textvae.objectives.divergences import mmd
from textvae.outputs import ObjectiveOutput, TextVAEOutput
from textvae.registry import register
from textvae.validation import Section


class InfoVAEConfig(Section):
    """InfoVAE with the maximum mean discrepancy.

    Args:
        alpha: of the paper: 1 takes all weight from the rate (MMD-VAE), 0 leaves it whole.
        mmd_weight: lambda of the paper. The discrepancy lies between 0 and 2, the distortion near 100 nats: the weight
            has to be large.
        kernel: imq (inverse multiquadratic) or gaussian.
    """

    alpha: float = Field(1.0, ge=0, le=1)
    mmd_weight: float = Field(100.0, gt=0)
    kernel: Literal["imq", "gaussian"] = "imq"

    @model_validator(mode="after")
    def _pulls(self) -> InfoVAEConfig:
        if self.alpha + self.mmd_weight <= 1:
            raise ValueError(
                f"alpha + mmd_weight must be above 1, not {self.alpha + self.mmd_weight:g}: the discrepancy has the "
                "weight alpha + mmd_weight - 1"
            )
        return self


@register("objective", "infovae", InfoVAEConfig)
class InfoVAE(Objective):
    """loss = distortion + (1 - alpha) * rate + (alpha + lambda - 1) * MMD(q(z) to p(z)), mean over the batch.

    q(z) is known by one sample of each sentence of the batch, p(z) by as many samples. With alpha = 1 this is the
    Wasserstein autoencoder of Tolstikhin et al. 2018, arXiv 1711.01558, and checkpoints are compared by distortion.
    The discrepancy is an average over pairs, so parts of an update each estimate it from their own
    sentences; a part of one sentence has no pair and leaves it out.

    Args:
        config: its configuration.
        latent_size: D.

    Source: Zhao et al. 2019, arXiv 1706.02262, equation 6.
    """

    reads_batch = True

    @classmethod
    def refusal(cls, values: dict[str, Any], posterior: type, prior: type) -> str | None:
        """It needs a rate unless all weight is taken from it, and then a learned prior has none."""
        if values["alpha"] < 1:
            return None if posterior.has_density else NO_RATE
        return UNTRAINED if prior.learned else None

    @property
    def selects_by(self) -> str:
        """The bound, or distortion where the rate has no weight."""
        return "nll" if self.config.alpha < 1 else "distortion"

    def forward(self, output: TextVAEOutput, progress: float) -> ObjectiveOutput:
        """The loss.

        Args:
            output: the model's.
            progress: not used.

        Returns:
            The scalar loss, beta = 1 - alpha, and the discrepancy for the log.
        """
        config, distortion = self.config, output.distortion.mean()
        if output.q is None:
            return ObjectiveOutput(distortion, 0.0)
        beta = 1 - config.alpha
        loss = distortion + beta * output.rate.mean() if beta else distortion
        z = output.z[0]
        if len(z) < 2:
            return ObjectiveOutput(loss, beta)
        # Two draws from the uniform prior of a sphere are 2 apart, squared, in expectation.
        spread = 2.0 if isinstance(output.q, (VonMisesFisher, PowerSpherical)) else 2.0 * z.shape[1]
        discrepancy = mmd(z, output.sample_prior(len(z)), config.kernel, spread)
        loss = loss + (config.alpha + config.mmd_weight - 1) * discrepancy
        return ObjectiveOutput(loss, beta, {"mmd": discrepancy.detach()})
