"""Averaged weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of a model's parameters, and of what batch normalisation has counted, in float32.

    The decay rises with the number of updates, min(decay, (1 + n) / (10 + n)), so that the first weights are soon
    forgotten.

    Args:
        model: whose parameters are followed.
        decay: weight of the past in each update.

    Source: Polyak & Juditsky 1992; the rising decay as in TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.updates = 0
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        counted = ("running_mean", "running_var")
        self.parameters |= {name: value for name, value in model.named_buffers() if name.endswith(counted)}
        self.average = {name: p.detach().clone().float() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Moves the average towards the current weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(
            list(self.average.values()), [p.float() for p in self.parameters.values()], weight=1 - decay
        )

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside this context."""
        held = {name: p.detach().clone() for name, p in self.parameters.items()}
        try:
            self._write(self.average)
            yield
        finally:
            self._write(held)

    def keep(self) -> None:
        """Gives the model the averaged weights for good."""
        self._write(self.average)

    def state_dict(self) -> dict[str, Tensor]:
        """Averages by parameter name, and the number of updates."""
        return {**self.average, "updates": torch.tensor(self.updates)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over what `state_dict` gave."""
        self.updates = int(state["updates"])
        for name, average in self.average.items():
            average.copy_(state[name])

    @torch.no_grad()
    def _write(self, values: dict[str, Tensor]) -> None:
        for name, p in self.parameters.items():
            p.copy_(values[name])
