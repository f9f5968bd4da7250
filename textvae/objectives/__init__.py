"""Objectives: what training minimises. They see the model's output and the progress of training, never tokens."""

from textvae.objectives.adversarial import Adversarial, AdversarialConfig
from textvae.objectives.base import Objective
from textvae.objectives.elbo import Elbo, ElboConfig
from textvae.objectives.infovae import InfoVAE, InfoVAEConfig
from textvae.objectives.iwae import Iwae, IwaeConfig
from textvae.objectives.schedules import BetaConfig, beta_at
from textvae.objectives.target_rate import TargetRate, TargetRateConfig

__all__ = [
    "Adversarial",
    "AdversarialConfig",
    "BetaConfig",
    "Elbo",
    "ElboConfig",
    "InfoVAE",
    "InfoVAEConfig",
    "Iwae",
    "IwaeConfig",
    "Objective",
    "TargetRate",
    "TargetRateConfig",
    "beta_at",
]
