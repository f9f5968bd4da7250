"""Weights that stay as they are for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from torch import nn


@contextlib.contextmanager
def frozen(weights: Iterable[nn.Parameter]) -> Iterator[None]:
    """Weights get no gradient from what is computed inside; those that had none before get none after.

    Args:
        weights: such as a module's parameters.
    """
    held = [weight for weight in weights if weight.requires_grad]
    try:
        for weight in held:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in held:
            weight.requires_grad_(True)
