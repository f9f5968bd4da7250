"""Objectives: what training minimises. They see the model's output and the progress of training, never tokens."""

from textvae.objectives.base import Objective
from textvae.objectives.elbo import Elbo, ElboConfig
from textvae.objectives.schedules import BetaConfig, beta_at
from textvae.objectives.target_rate import TargetRate, TargetRateConfig

__all__ = ["BetaConfig", "Elbo", "ElboConfig", "Objective", "TargetRate", "TargetRateConfig", "beta_at"]
