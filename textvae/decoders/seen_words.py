"""A softmax over the words of one corpus, where a decoder knows many more. Shapes: E features, V vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor

from textvae.layers.cross_entropy import token_nll


class SeenWords:
    """p(word) ~ frequency * exp(logit), in which the words that a corpus lacks have a logit of 0.

    So their logits, most of a large vocabulary, need not be computed: they are equally rare, and count as one.

    Args:
        counts: (V,) how often the corpus has each word.
    """

    def __init__(self, counts: Tensor):
        (self.seen,) = (counts > 0).nonzero(as_tuple=True)
        log_frequencies = ((counts + 1) / (counts + 1).sum()).log()
        others = log_frequencies[counts == 0]
        self.log_frequencies = torch.cat([log_frequencies[self.seen], others.logsumexp(0, keepdim=True)])
        self.rows = torch.full_like(counts, len(self.seen), dtype=torch.long)
        self.rows[self.seen] = torch.arange(len(self.seen), device=counts.device)
        self.log_others = (counts == 0) * torch.tensor(float(max(1, len(others))), device=counts.device).log()

    def nll(self, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        """-log p of each target in nats: features (n,E), weight (V,E), bias (V,), targets (n,) -> (n,)."""
        if self.rows.device != features.device:
            for name, values in vars(self).items():
                setattr(self, name, values.to(features.device))
        weight = torch.cat([weight[self.seen], weight.new_zeros(1, weight.shape[1])])
        bias = torch.cat([bias[self.seen], bias.new_zeros(1)]) + self.log_frequencies
        return token_nll(features, weight, bias, self.rows[targets]) + self.log_others[targets]
