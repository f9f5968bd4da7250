"""Vectors turned by their places in a text. Shapes: B sentences, T tokens, H features, D latent dimensions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def decaying(half: int, device: torch.device | None = None) -> Tensor:
    """Angles a place, (H/2,): from 1 down towards 1/10000, each the same share of the one before.

    Source: Su et al. 2021, arXiv 2104.09864, section 3.2.2.
    """
    return 10000 ** (-torch.arange(half, device=device, dtype=torch.float32) / half)


def even(half: int, device: torch.device | None = None) -> Tensor:
    """Angles a place, (H/2,): evenly between 0 and pi, so that places less than H apart are orthogonal on average.

    At a distance of H all has turned by an odd multiple of pi, and comes back with the other sign.
    """
    return math.pi * (torch.arange(half, device=device, dtype=torch.float32) + 0.5) / half


def check_even(size: int, what: str) -> None:
    """Raises ValueError where what is to be turned in pairs of features has an odd number of them."""
    if size % 2:
        raise ValueError(f"{what} must have an even size, to be turned in pairs; {size} is odd")


def rotate(x: Tensor, places: Tensor, angles: Tensor) -> Tensor:
    """Turns each pair of features (j, j + H/2) by the angle of the pair times the place.

    Args:
        x: (...,T,H), or (...,1,H) for the same vector at every place.
        places: (T,).
        angles: (H/2,) in radians a place.

    Returns:
        (...,T,H).

    Source: Su et al. 2021, arXiv 2104.09864, equation 34.
    """
    turned = places[:, None].float() * angles  # (T,H/2)
    cos, sin = turned.cos().to(x.dtype), turned.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class RotaryMemory(nn.Module):
    """z, as a sum of vectors that know their places, turned back to the place of the word to come.

    Args:
        latent_size: D.
        size: H, even.
    """

    def __init__(self, latent_size: int, size: int):
        super().__init__()
        self.unfold = nn.Linear(latent_size, size, bias=False)

    def forward(self, z: Tensor, first: int, count: int) -> Tensor:
        """Reads.

        Args:
            z: (B,D).
            first: place of the first word to come.
            count: T, words to come.

        Returns:
            (B,T,H).
        """
        vectors = self.unfold(z)
        places = torch.arange(first, first + count, device=z.device)
        return rotate(vectors[:, None], -places, even(vectors.shape[-1] // 2, z.device))
