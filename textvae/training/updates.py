"""Ways to take a step beyond one optimizer over one model."""

from __future__ import annotations

from pathlib import Path

import torch

from textvae.objectives import Objective

OBJECTIVE_OPTIMIZER = "objective_optimizer.pt"


class ObjectiveOptimizer:
    """Trains the parameters of an objective, such as a discriminator, after each update of the model.

    Adam with betas 0.5 and 0.999, usual for discriminators, at a constant learning rate.

    Args:
        objective: whose parameters are trained.
    """

    def __init__(self, objective: Objective):
        self.optimizer = torch.optim.Adam(list(objective.parameters()), objective.learning_rate, betas=(0.5, 0.999))

    def step(self) -> None:
        """Follows the gradients that have gathered, and forgets them."""
        self.optimizer.step()
        self.optimizer.zero_grad()

    def save(self, folder: Path) -> None:
        """Writes its state into a checkpoint."""
        torch.save(self.optimizer.state_dict(), folder / OBJECTIVE_OPTIMIZER)

    def load(self, folder: Path) -> None:
        """Takes its state from a checkpoint."""
        state = torch.load(folder / OBJECTIVE_OPTIMIZER, map_location="cpu", weights_only=True)
        self.optimizer.load_state_dict(state)
