"""Paths between latent vectors: pure functions. Shapes: D latent dimensions, S steps."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

# Directions this near to each other are as good as parallel: there is no arc to go along.
PARALLEL = 1e-3


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """The straight line.

    Args:
        a, b: (D,) ends.
        t: (S,) positions from 0 to 1.

    Returns:
        (S,D).
    """
    t = t[:, None]
    return (1 - t) * a + t * b


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """The arc: directions along the great circle, norms in a straight line.

    A straight line between two Gaussian vectors passes through short vectors, which the prior never gives. For
    vectors that are nearly parallel, or zero, this is lerp; between opposite ones it goes along one of the arcs.

    Args:
        a, b: (D,) ends.
        t: (S,) positions from 0 to 1.

    Returns:
        (S,D).

    Source: Shoemake 1985; for latent spaces White 2016, arXiv 1609.04468, section 2.
    """
    norm_a, norm_b = a.norm(), b.norm()
    if norm_a == 0 or norm_b == 0:
        return lerp(a, b, t)
    unit_a, unit_b = a / norm_a, b / norm_b
    # Not the arc cosine of the product, which keeps half of the digits near 0 and pi.
    angle = 2 * torch.atan2((unit_a - unit_b).norm(), (unit_a + unit_b).norm())
    if angle < PARALLEL or len(a) == 1:  # on a line there are no arcs
        return lerp(a, b, t)
    t = t[:, None]
    if angle > math.pi - PARALLEL:
        # All arcs are equally long: the one by way of the axis that a has least of.
        axis = torch.zeros_like(a).index_fill_(0, a.abs().argmin(), 1.0)
        aside = axis - (axis @ unit_a) * unit_a
        direction = torch.cos(t * angle) * unit_a + torch.sin(t * angle) * aside / aside.norm()
    else:
        direction = (torch.sin((1 - t) * angle) * unit_a + torch.sin(t * angle) * unit_b) / torch.sin(angle)
    return direction * ((1 - t) * norm_a + t * norm_b)


def onto_sphere(z: Tensor) -> Tensor:
    """Vectors scaled to length 1.

    Args:
        z: (S,D).

    Raises:
        ValueError: a vector is nearly 0, as in the middle between opposite ones.
    """
    norm = z.norm(dim=-1, keepdim=True)
    if (norm < PARALLEL).any():
        raise ValueError("a latent vector is nearly 0 and has no direction on the sphere (half way between opposites?)")
    return z / norm


def path(
    a: Tensor, b: Tensor, steps: int, method: Literal["slerp", "lerp"] = "slerp", on_sphere: bool = False
) -> Tensor:
    """Latent vectors from a to b, both ends included.

    Args:
        a, b: (D,) ends.
        steps: S, at least 2.
        method: slerp or lerp.
        on_sphere: bring all points to length 1, where the ends have it.

    Returns:
        (S,D); the first and last are a and b exactly.

    Raises:
        ValueError: fewer than 2 steps, an unknown method, ends of different shapes.
    """
    if steps < 2:
        raise ValueError(f"steps: {steps} is too few; a path has at least its 2 ends")
    if a.shape != b.shape or a.dim() != 1:
        raise ValueError(f"the ends have shapes {tuple(a.shape)} and {tuple(b.shape)}; both must be (D,)")
    if method not in ("slerp", "lerp"):
        raise ValueError(f"method: {method!r} is not known; known: lerp, slerp")
    points = (slerp if method == "slerp" else lerp)(a, b, torch.linspace(0, 1, steps, device=a.device))
    points[0], points[-1] = a, b
    return onto_sphere(points) if on_sphere else points
