"""A learning rate of their own for pretrained weights, which less training suits than what is new."""

from __future__ import annotations

import torch
from torch import nn


def pretrained_weights(model: nn.Module) -> list[nn.Parameter]:
    """The trained weights that pretrained parts of a TextVAEModel brought along."""
    parts = [part for part in model.children() if hasattr(part, "pretrained_weights")]
    return [weight for part in parts for weight in part.pretrained_weights()]


def set_apart(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], rate: float) -> None:
    """Gives weights a learning rate of their own.

    Args:
        optimizer: which has made no step yet; its groups are split. Those with the usual rate stay in front, where
            their rate is what is logged.
        weights: of it.
        rate: theirs.
    """
    apart, usual, others = set(weights), [], []
    for group in optimizer.param_groups:
        usual.append({**group, "params": [weight for weight in group["params"] if weight not in apart]})
        others.append({**group, "params": [weight for weight in group["params"] if weight in apart], "lr": rate})
    optimizer.param_groups[:] = usual + others
