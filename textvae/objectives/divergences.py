"""A divergence between two distributions that are known by samples. Shapes: N, M samples, D latent dimensions."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def kernel(a: Tensor, b: Tensor, kind: Literal["imq", "gaussian"], spread: float) -> Tensor:
    """How alike vectors are, 1 where they are equal.

    Args:
        a: (N,D).
        b: (M,D).
        kind: imq, C / (C + |a-b|^2); gaussian, exp(-|a-b|^2 / C).
        spread: C, the expected squared distance of two draws from the prior: 2D for a standard normal.

    Returns:
        (N,M).

    Source: Tolstikhin et al. 2018, arXiv 1711.01558, section 4 (inverse multiquadratic, C).
    """
    # Not by way of a product: that loses the small distances, and at a distance of 0 a root has no gradient.
    squared = (a[:, None] - b).square().sum(-1)
    return spread / (spread + squared) if kind == "imq" else (-squared / spread).exp()


def mmd(a: Tensor, b: Tensor, kind: Literal["imq", "gaussian"], spread: float) -> Tensor:
    """Squared maximum mean discrepancy, estimated without bias (so that it may be below 0).

    Args:
        a: (N,D), N at least 2.
        b: (M,D), M at least 2.
        kind, spread: of the kernel.

    Returns:
        Scalar.

    Source: Gretton et al. 2012, equation 3.
    """
    within = _within(kernel(a, a, kind, spread)) + _within(kernel(b, b, kind, spread))
    return within - 2 * kernel(a, b, kind, spread).mean()


def _within(similarity: Tensor) -> Tensor:
    """Mean over pairs of different samples."""
    n = len(similarity)
    return (similarity.sum() - torch.trace(similarity)) / (n * (n - 1))
