"""Word vectors that stay near what they were at first. Shapes: V vocabulary, E and H features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AnchoredEmbedding(nn.Module):
    """A table of first vectors, which stay, plus changes, which are trained: weight decay draws to what was first.

    Many words of a corpus occur but a few times. Vectors that decay to zero say little of those, and without decay they
    know the few texts by heart; here a rare word keeps its first vector, random or near those of its kin, by which it
    can be told from the others, and a frequent one goes where it is wanted.

    Args:
        num_embeddings: V.
        embedding_dim: E.

    Source: Li, Grandvalet & Davoine 2018, arXiv 1802.01483 (L2-SP: decay to pretrained weights).
    """

    def __init__(self, num_embeddings: int, embedding_dim: int):
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.change = nn.Embedding(num_embeddings, embedding_dim)
        nn.init.zeros_(self.change.weight)
        self.register_buffer("first", torch.empty(num_embeddings, embedding_dim).uniform_(-0.1, 0.1))

    @property
    def weight(self) -> Tensor:
        """(V,E)."""
        return self.change.weight + self.first

    def forward(self, ids: Tensor) -> Tensor:
        """(B,T) -> (B,T,E)."""
        return self.change(ids) + F.embedding(ids, self.first)

    @torch.no_grad()
    def begin_from(self, vectors: Tensor) -> None:
        """Takes the principal components of pretrained vectors as first ones, whitened; there is no change yet.

        They have the size that new vectors would have, so that all else can be set as for those.

        Args:
            vectors: (V,H). Where H is smaller than E, the rest is zero.
        """
        std = self.first.std()
        centred = vectors.double() - vectors.double().mean(0)
        variances, directions = torch.linalg.eigh(centred.t() @ centred / len(centred))
        components = (centred @ directions).flip(1)[:, : self.embedding_dim]  # the largest first
        variances = variances.flip(0)[: self.embedding_dim]
        real = variances > 1e-6 * variances[0]
        self.first.zero_()
        self.first[:, : len(real)] = components * torch.where(real, std / variances.clamp_min(1e-30).sqrt(), 0.0)
        self.change.weight.zero_()
