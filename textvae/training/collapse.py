"""Warns while a posterior collapses, when there is still time to stop the run."""

from __future__ import annotations

import logging

from textvae.evaluation.advice import LEAST_RATE

logger = logging.getLogger(__name__)


class CollapseWatch:
    """Looks at the evaluations of a training one after the other.

    Args:
        latent_size: D.
        advice: what to change, in sentences.
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
        before, self.looked_collapsed = self.looked_collapsed, rate < LEAST_RATE or active < 0.1 * self.latent_size
        if not (before and self.looked_collapsed) or self.has_warned:
            return
        self.has_warned = True
        logger.warning(
            "the posterior looks collapsed at step %d: rate %.2f nats, %d of %d units active. %s Or weaken the "
            "decoder with model.decoder.word_dropout.",
            step,
            rate,
            active,
            self.latent_size,
            self.advice,
        )
