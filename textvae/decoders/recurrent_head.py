"""A recurrent network that speaks beside a pretrained decoder.

Shapes: N sentences, T tokens, D latent dimensions, H features, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textvae.layers.cross_entropy import token_nll


class RecurrentHead(nn.Module):
    """A GRU over word vectors and z, whose states are added to a decoder's features before the softmax.

    The softmax then gives the product of two experts, up to its norm: of the pretrained model, and of a small model
    that was made to turn z into text.

    Args:
        latent_size: D.
        word_size: H of the word vectors that it reads.
        size: of its states.
        feature_size: H of the features.

    Source: z as first state and beside each word as in He et al. 2019, arXiv 1901.05534; product of experts: Hinton
    2002.
    """

    def __init__(self, latent_size: int, word_size: int, size: int, feature_size: int):
        super().__init__()
        self.cell = nn.GRU(word_size + latent_size, size, batch_first=True)
        self.initial = nn.Linear(latent_size, size)
        self.projection = nn.Linear(size, feature_size)

    def forward(self, vectors: Tensor, z: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Reads word vectors.

        Args:
            vectors: (N,T,H), of any size: families differ.
            z: (N,D).
            state: (1,N,size) after the words before them; None at the beginning.

        Returns:
            (N,T,H) to be added to features, and the new state.
        """
        vectors = F.layer_norm(vectors, vectors.shape[-1:])
        x = torch.cat([vectors, z[:, None].expand(-1, vectors.shape[1], -1).to(vectors.dtype)], -1)
        first = self.initial(z).tanh()[None].contiguous() if state is None else state
        states, last = self.cell(x, first)
        return self.projection(states), last


class SeenWords:
    """A softmax for texts of one corpus: what is said of a word that the corpus has is added to its log frequency.

    The words that it does not have, most of a large vocabulary, share the rest; so their logits need not be computed.

    Args:
        weight: (V,H) of the whole softmax layer; it is not trained.
        counts: (V,) how often the corpus has each word.
    """

    def __init__(self, weight: Tensor, counts: Tensor):
        seen = counts > 0
        log_frequencies = ((counts + 1) / (counts + 1).sum()).log()
        others = int((~seen).sum())
        self.weight, self.bias = weight.detach()[seen], log_frequencies[seen]
        if others:  # one row of zeros stands for all of them, which are equally rare
            self.weight = torch.cat([self.weight, torch.zeros_like(self.weight[:1])])
            self.bias = torch.cat([self.bias, log_frequencies[~seen].logsumexp(0, keepdim=True)])
        self.rows = torch.full_like(counts, int(seen.sum()), dtype=torch.long)
        self.rows[seen] = torch.arange(int(seen.sum()), device=counts.device)
        self.share = torch.where(seen, 0.0, torch.tensor(float(max(others, 1)), device=counts.device).log())

    def nll(self, features: Tensor, targets: Tensor) -> Tensor:
        """-log p of each target in nats: features (n,H), targets (n,) -> (n,)."""
        return token_nll(features, self.weight, self.bias, self.rows[targets]) + self.share[targets]
