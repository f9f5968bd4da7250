"""The weight of the rate as a pure function of training progress."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from textvae.validation import Section


class BetaConfig(Section):
    """A schedule of beta.

    Args:
        schedule: constant, linear, logistic, cosine or cyclical.
        warmup: share of training (of each cycle, in the cyclical schedule) after which beta is at its maximum.
        min: beta at the start.
        max: beta after the warm-up.
        cycles: how often the cyclical schedule starts again.
    """

    schedule: Literal["constant", "linear", "logistic", "cosine", "cyclical"] = "linear"
    warmup: float = Field(0.3, ge=0, le=1)
    min: float = Field(0.0, ge=0)
    max: float = Field(1.0, ge=0)
    cycles: int = Field(4, ge=1)


def beta_at(config: BetaConfig, progress: float) -> float:
    """beta at a moment of training.

    Args:
        config: the schedule.
        progress: share of training done, in [0,1].

    Returns:
        A weight between config.min and config.max. The logistic schedule is scaled so that it starts at min exactly
        and reaches max exactly at the end of the warm-up.

    Source: Bowman et al. 2016, arXiv 1511.06349, section 3.1 (logistic, linear); Fu et al. 2019, arXiv 1903.10145,
    equation 6 (cyclical, with a proportion `warmup` of each cycle spent rising).
    """
    if config.schedule == "constant":
        return config.max
    if config.schedule == "cyclical":
        progress = 1.0 if progress >= 1 else progress * config.cycles % 1
    share = 1.0 if progress >= config.warmup else progress / config.warmup
    if config.schedule == "cosine":
        share = 0.5 * (1 - math.cos(math.pi * share))
    elif config.schedule == "logistic":
        low, high = _sigmoid(-5.0), _sigmoid(5.0)
        share = (_sigmoid(10 * share - 5) - low) / (high - low)
    return config.min + (config.max - config.min) * share


def warmed_up(config: BetaConfig, progress: float) -> bool:
    """Whether beta has reached its maximum for good, so that checkpoints may be compared."""
    if config.schedule == "constant" or config.warmup == 0:
        return True
    if config.schedule == "cyclical":
        return progress >= (config.cycles - 1 + config.warmup) / config.cycles
    return progress >= config.warmup


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))
