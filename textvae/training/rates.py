"""A learning rate and a decay of their own for pretrained weights, which less training suits than what is new."""

from __future__ import annotations

import torch
from torch import nn


def pretrained_weights(model: nn.Module) -> list[nn.Parameter]:
    """The trained weights that pretrained parts of a TextVAEModel brought along."""
    parts = [part for part in model.children() if hasattr(part, "pretrained_weights")]
    return [weight for part in parts for weight in part.pretrained_weights()]


def set_apart(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], **options: float) -> None:
    """Gives weights options of their own.

    Args:
        optimizer: which has made no step yet; its groups are split. Those with the usual options stay in front, where
            their rate is what is logged.
        weights: of it.
        **options: theirs, `lr` or `weight_decay`.
    """
    apart, usual, others = set(weights), [], []
    for group in optimizer.param_groups:
        usual.append({**group, "params": [weight for weight in group["params"] if weight not in apart]})
        others.append({**group, "params": [weight for weight in group["params"] if weight in apart], **options})
    optimizer.param_groups[:] = usual + others


class Anchor:
    """Decay of pretrained weights to what they were, in place of zero.

    Args:
        weights: as they are now, to which they will be drawn; a copy of them is held.
        decay: share of the way back that an update goes, times its learning rate.

    Source: Li, Grandvalet & Davoine 2018, arXiv 1802.01483 (L2-SP); decoupled from the gradient as in Loshchilov &
    Hutter 2019, arXiv 1711.05101.
    """

    def __init__(self, weights: list[nn.Parameter], decay: float):
        self.weights, self.decay = weights, decay
        self.first = [weight.detach().clone() for weight in weights]

    @torch.no_grad()
    def pull(self, rate: float) -> None:
        """After a step of the optimizer, which moved the weights that have a gradient.

        Args:
            rate: the learning rate that it had.
        """
        pairs = zip(self.weights, self.first, strict=True)
        moved = [(weight.data, first) for weight, first in pairs if weight.grad is not None]
        if moved:
            torch._foreach_lerp_(*map(list, zip(*moved, strict=True)), weight=min(1.0, rate * self.decay))
