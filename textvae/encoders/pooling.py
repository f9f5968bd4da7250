"""From one vector a token to one summary a sentence; padding has no say. Shapes: B sentences, T tokens, H features."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from textvae.layers.rotation import check_even, rotary_sum

PoolingKind = Literal["last", "mean", "max", "attention", "rotary"]


class Pooling(nn.Module):
    """Pools the states of a sentence.

    Args:
        kind: first or last (that token's state), mean, max, attention (a learned weight for each token), or rotary (the
            sum over root T of states that are turned by their places, so that it knows the order of what they say; for
            a decoder with rotary in its `inject`, which turns z back).
        size: H.

    Raises:
        ValueError: rotary, and H is odd.
    """

    def __init__(self, kind: PoolingKind | Literal["first"], size: int):
        super().__init__()
        self.kind = kind
        if kind == "rotary":
            check_even(size, "the states for model.encoder.pooling: rotary")
        if kind == "attention":
            self.score = nn.Linear(size, 1, bias=False)  # a bias would cancel in the softmax

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Pools.

        Args:
            states: (B,T,H).
            mask: (B,T), 1 for tokens and 0 for padding; padding is on the right.

        Returns:
            (B,H).
        """
        if self.kind == "first":
            return states[:, 0]
        if self.kind == "last":
            return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
        if self.kind == "rotary":
            return rotary_sum(states, mask)
        keep = mask.bool()[..., None]
        if self.kind == "mean":
            return (states * keep).sum(1) / mask.sum(1, keepdim=True)
        if self.kind == "max":
            return states.masked_fill(~keep, torch.finfo(states.dtype).min).amax(1)
        weights = self.score(states).float().masked_fill(~keep, -torch.inf).softmax(1)
        return (states * weights).sum(1)
