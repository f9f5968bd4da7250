"""Vectors turned by their place in a text. Shapes: B sentences, T tokens, H features, D latent dimensions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def decaying(half: int, device: torch.device | None = None) -> Tensor:
    """Angles a place, (H/2,): from 1 down to 1/10000, each the same share of the one before.

    Source: Su et al. 2021, arXiv 2104.09864, section 3.2.2.
    """
    return 10000 ** (-torch.arange(half, device=device, dtype=torch.float32) / half)


def even(half: int, device: torch.device | None = None) -> Tensor:
    """Angles a place, (H/2,): evenly between 0 and pi, so that places less than H apart are orthogonal on average."""
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


def rotary_sum(words: Tensor, mask: Tensor) -> Tensor:
    """The sum of a sentence's vectors, each turned by its place, over the root of their number.

    A bag of words that knows their order: turned back by one place, the word of that place stands upright in it and
    the others, at right angles on average, are noise. Sums of bound pairs of vectors are the memories of Plate 1995
    (holographic reduced representations, IEEE Transactions on Neural Networks 6(3)), whose circular convolution is a
    product of each frequency with a number of modulus one, as here.

    Args:
        words: (B,T,H), H even.
        mask: (B,T), 1 for tokens and 0 for padding on the right.

    Returns:
        (B,H).
    """
    places = torch.arange(words.shape[1], device=words.device)
    return sum_of_words(rotate(words, places, even(words.shape[-1] // 2, words.device)), mask)


def sum_of_words(words: Tensor, mask: Tensor) -> Tensor:
    """Word vectors (B,T,H) summed over a sentence's tokens and divided by the root of their number -> (B,H)."""
    return (words * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).sqrt()


class RotaryMemory(nn.Module):
    """z, as a sum of words that know their places, turned back to the place of the word to come.

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
        words = self.unfold(z)
        places = torch.arange(first, first + count, device=z.device)
        return rotate(words[:, None], -places, even(words.shape[-1] // 2, z.device))
