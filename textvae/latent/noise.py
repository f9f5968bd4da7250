"""Random numbers from a generator that may live on another device than what they are for."""

from __future__ import annotations

import torch
from torch import Tensor


def standard_normal(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draws from N(0, 1).

    Args:
        shape: of the draw.
        like: whose dtype and device the draw gets.
        generator: source of randomness; the global one when None.
    """
    if generator is None:  # torch.compile knows no generator, not even None
        return torch.randn(shape, dtype=like.dtype, device=like.device)
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=generator.device).to(like.device)


def beta_variables(alpha: Tensor, beta: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Draws x from Beta(alpha, beta), differentiable in both by implicit reparameterisation.

    Args:
        alpha, beta: float64, of one shape.
        generator: source of randomness; the global one when None.

    Returns:
        x and 1 - x, each exact where it is small.

    Source: Figurnov et al. 2018, arXiv 1805.08498 (the gradient of gamma variables, which torch computes).
    """
    device = generator.device if generator else alpha.device
    # torch.distributions takes no generator; this is the function that it calls.
    a, b = (torch._standard_gamma(x.to(device), generator=generator).to(alpha.device) for x in (alpha, beta))
    total = (a + b).clamp_min(torch.finfo(a.dtype).tiny)
    return a / total, b / total
