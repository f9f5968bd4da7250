"""A divergence between two distributions that are known by samples. Shapes: N, M samples, D latent dimensions."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def kernel(a: Tensor, b: Tensor, kind: Literal["imq", "gaussian"]) -> Tensor:
    """How alike vectors are, 1 where they are equal.

    The bandwidth is C = 2D, the expected squared distance of two draws from a standard normal.

    Args:
        a: (N,D).
        b: (M,D).
        kind: imq, C / (C + |a-b|^2); gaussian, exp(-|a-b|^2 / C).

    Returns:
        (N,M).

    Source: Tolstikhin et al. 2018, arXiv 1711.01558, section 4 (inverse multiquadratic, C).
    """
    # Not by way of a product: that loses the small distances, and at a distance of 0 a root has no gradient.
    squared, scale = (a[:, None] - b).square().sum(-1), 2 * a.shape[1]
    return scale / (scale + squared) if kind == "imq" else (-squared / scale).exp()


def mmd(a: Tensor, b: Tensor, kind: Literal["imq", "gaussian"]) -> Tensor:
    """Squared maximum mean discrepancy, estimated without bias (so that it may be below 0).

    Args:
        a: (N,D), N at least 2.
        b: (M,D), M at least 2.
        kind: of the kernel.

    Returns:
        Scalar.

    Source: Gretton et al. 2012, equation 3.
    """
    return _within(kernel(a, a, kind)) + _within(kernel(b, b, kind)) - 2 * kernel(a, b, kind).mean()


def _within(similarity: Tensor) -> Tensor:
    """Mean over pairs of different samples."""
    n = len(similarity)
    return (similarity.sum() - torch.trace(similarity)) / (n * (n - 1))
