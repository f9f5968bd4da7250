"""Warns while a posterior collapses, when there is still time to stop the run."""

from __future__ import annotations

import logging

from textvae.objectives import Objective

logger = logging.getLogger(__name__)


def more_rate(objective: Objective) -> str:
    """What to change in the section of an objective, in words."""
    config = objective.config
    if not hasattr(config, "free_bits"):
        return "Train with objective.kind: elbo and objective.free_bits (6 or more)"
    gentler = "smaller" if config.beta.schedule == "constant" else "smaller, objective.beta.warmup longer"
    return f"Set objective.free_bits (6 or more), make objective.beta.max {gentler}"


class CollapseWatch:
    """Looks at the evaluations of a training one after the other.

    Args:
        latent_size: D.
        advice: what to change, in words.
    """

    def __init__(self, latent_size: int, advice: str):
        self.latent_size, self.advice = latent_size, advice
        self.looked_collapsed = self.has_warned = False

    def look(self, rate: float, active: int, step: int) -> None:
        """Warns once, at the second evaluation in a row that looks collapsed: at first no posterior tells much.

        Args:
            rate: mean over validation, in nats.
            active: units.
            step: of the evaluation.
        """
        before, self.looked_collapsed = self.looked_collapsed, rate < 1.0 or active < 0.1 * self.latent_size
        if not (before and self.looked_collapsed) or self.has_warned:
            return
        self.has_warned = True
        logger.warning(
            "the posterior looks collapsed at step %d: rate %.2f nats, %d of %d units active. %s, or weaken the "
            "decoder with model.decoder.word_dropout",
            step,
            rate,
            active,
            self.latent_size,
            self.advice,
        )
