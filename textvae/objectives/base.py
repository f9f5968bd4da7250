"""What every objective is to the trainer."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from textvae.validation import Section

NO_RATE = "a posterior without a density has no rate, which this objective needs"
UNTRAINED = "it gives a learned prior no rate to learn from; take a prior that is not learned"


class Objective(nn.Module):
    """What training minimises: `forward(output, progress) -> ObjectiveOutput`.

    Its buffers and parameters are checkpointed. Parameters are trained by an optimizer of their own, so the loss that
    a subclass returns must give them the gradient that they are to follow; see `Adversarial`.

    Args:
        config: its configuration.
        latent_size: D; 0 for a plain language model.

    Attributes:
        num_samples: latent samples a sentence that it asks the model for.
        selects_by: what checkpoints are compared by: nll (the bound at beta = 1) or distortion.
        learning_rate: of its own parameters, where it has some.
        hooks_z: whether it changes the gradient on its way through z, which a compiled model hides from it.
        reads_batch: whether it takes the sentences of a batch for a random draw of the corpus; batches of like length,
            which are faster, are none.
    """

    num_samples = 1
    selects_by = "nll"
    learning_rate = 0.0
    hooks_z = False
    reads_batch = False

    def __init__(self, config: Section, latent_size: int = 0):
        super().__init__()
        self.config = config

    @classmethod
    def refusal(cls, values: dict[str, Any], posterior: type, prior: type) -> str | None:
        """Why it does not go with a posterior and a prior, from what these declare; None where it does.

        Args:
            values: of its configuration.
            posterior, prior: registered classes.
        """
        return None

    def warmed_up(self, progress: float) -> bool:
        """Whether what is minimised has its final form, so that checkpoints may be compared.

        Args:
            progress: share of training done, in [0,1].
        """
        return True

    def feasible(self, rate: float) -> bool:
        """Whether a model of this rate on validation, in nats a sentence, is one that was asked for."""
        return True

    def after_step(self, rate: Tensor) -> None:
        """Called after each update.

        Args:
            rate: scalar, mean over all sentences of the update, in nats.
        """

    def after_evaluation(self, rate: float) -> None:
        """Called after each evaluation in the course of training.

        Args:
            rate: mean over validation, in nats.
        """
