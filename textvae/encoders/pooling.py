"""From one vector a token to one summary a sentence; padding has no say. Shapes: B sentences, T tokens, H features."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from textvae.layers.rotation import check_even, even, rotate

PoolingKind = Literal["last", "mean", "max", "attention", "rotary"]


def sum_of_words(words: Tensor, mask: Tensor) -> Tensor:
    """Word vectors (B,T,H) summed over a sentence's tokens and divided by the root of their number -> (B,H)."""
    return (words * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).sqrt()


def rotary_sum(states: Tensor, mask: Tensor) -> Tensor:
    """The same of vectors that are turned by their places: a sum that knows their order.

    Turned back by one place, the vector of that place stands upright in it and the others, at right angles on average,
    are noise. Sums of bound pairs of vectors are the memories of Plate 1995 (holographic reduced representations, IEEE
    Transactions on Neural Networks 6(3)), whose circular convolution with a vector of unitary spectrum turns each
    frequency by an angle, as here.

    Args:
        states: (B,T,H), H even.
        mask: (B,T), 1 for tokens and 0 for padding on the right.

    Returns:
        (B,H).
    """
    places = torch.arange(states.shape[1], device=states.device)
    return sum_of_words(rotate(states, places, even(states.shape[-1] // 2, states.device)), mask)


class Pooling(nn.Module):
    """Pools the states of a sentence.

    Args:
        kind: first or last (that token's state), mean, max, attention (a learned weight for each token), or rotary (the
            sum over root T of states that are turned by their places, so that it knows the order of what they say; for
            an encoder that reads the decoder's tokens, and a decoder with rotary in its `inject`, which turns z back).
        size: H.

    Raises:
        ValueError: rotary, and H is odd.
    """

    def __init__(self, kind: PoolingKind | Literal["first"], size: int):
        super().__init__()
        self.kind = kind
        if kind == "rotary":
            check_even(size, "states for rotary pooling")
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
