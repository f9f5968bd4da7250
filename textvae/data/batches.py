"""Texts of like length together, as many as memory holds: for all but training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from textvae.data.collator import Collator

# Rows (samples times sentences) times tokens that one forward pass may hold.
TOKENS_AT_ONCE = 16_384


def length_sorted_batches(lengths, copies: int = 1) -> Iterator[np.ndarray]:
    """Indices of texts in batches of like length, longest first, as many as TOKENS_AT_ONCE allows.

    Args:
        lengths: tokens of each text.
        copies: how many copies of each sentence a batch will hold.
    """
    lengths = np.asarray(lengths)
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, TOKENS_AT_ONCE // (int(lengths[order[start]] + 1) * copies))
        yield order[start : start + size]
        start += size


def batch_of(dataset, index: np.ndarray, collate: Collator, device: torch.device) -> dict[str, Tensor]:
    """The texts of a split at these indices as a batch on the model's device."""
    rows = dataset.__getitems__(index.tolist())
    return {name: tensor.to(device) for name, tensor in collate(rows).items()}
