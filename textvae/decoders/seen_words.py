"""A softmax over the words of one corpus, where a decoder knows many more. Shapes: E features, V vocabulary."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from textvae.layers.cross_entropy import token_nll


class SeenWords(nn.Module):
    """p(word) ~ frequency * exp(logit), in which the words that a corpus lacks have a logit of 0.

    So their logits, most of a large vocabulary, need not be computed: they are equally rare, and count as one.

    Args:
        counts: (V,) how often the corpus has each word.
    """

    def __init__(self, counts: Tensor):
        super().__init__()
        (seen,) = (counts > 0).nonzero(as_tuple=True)
        log_frequencies = ((counts + 1) / (counts + 1).sum()).log()
        others = log_frequencies[counts == 0]
        rows = torch.full_like(counts, len(seen), dtype=torch.long)
        rows[seen] = torch.arange(len(seen))
        # They go where the model goes, and are not saved with it.
        self.register_buffer("seen", seen, persistent=False)
        self.register_buffer("rows", rows, persistent=False)
        every = torch.cat([log_frequencies[seen], others.logsumexp(0, keepdim=True)])
        self.register_buffer("log_frequencies", every, persistent=False)
        log_others = (counts == 0) * math.log(max(1, len(others)))
        self.register_buffer("log_others", log_others, persistent=False)

    def nll(self, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        """-log p of each target in nats: features (n,E), weight (V,E), bias (V,), targets (n,) -> (n,)."""
        weight = torch.cat([weight[self.seen], weight.new_zeros(1, weight.shape[1])])
        bias = torch.cat([bias[self.seen], bias.new_zeros(1)]) + self.log_frequencies
        return token_nll(features, weight, bias, self.rows[targets]) + self.log_others[targets]
