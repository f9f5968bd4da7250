"""Objectives: what training minimises. They see the model's output and the progress of training, never tokens."""

from textvae.objectives.elbo import Elbo, ElboConfig
from textvae.objectives.schedules import BetaConfig, beta_at

__all__ = ["BetaConfig", "Elbo", "ElboConfig", "beta_at"]
