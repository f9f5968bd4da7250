"""Dropout for sequences. Shapes: B sentences, T tokens, H features, V vocabulary."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LockedDropout(nn.Module):
    """Drops the same features at every position of a sentence (variational dropout).

    Args:
        p: probability of dropping a feature.

    Source: Gal & Ghahramani 2016, arXiv 1512.05287.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """(B,T,H) -> (B,T,H)."""
        if not self.training or self.p == 0:
            return x
        keep = torch.empty(x.shape[0], 1, x.shape[2], dtype=x.dtype, device=x.device).bernoulli_(1 - self.p)
        return x * (keep / (1 - self.p))


def embed(embedding: nn.Embedding, ids: Tensor, p: float, training: bool) -> Tensor:
    """Embeds ids, scaled up by sqrt(H); in training without some of the word types (the same in the whole batch).

    Word vectors that are tied to the softmax start small, as it wants them. Unscaled they would be drowned out by z,
    which enters beside them with a size of one a dimension: see docs/experiments.md.

    Args:
        embedding: table of V vectors.
        ids: (B,T).
        p: probability of dropping a word type.
        training: whether to drop at all.

    Returns:
        (B,T,H).

    Source: Gal & Ghahramani 2016, arXiv 1512.05287; Merity et al. 2018, arXiv 1708.02182, section 4.3; the scale:
    Vaswani et al. 2017, arXiv 1706.03762, section 3.4.
    """
    vectors = embedding(ids) * embedding.embedding_dim**0.5
    if not training or p == 0:
        return vectors
    keep = torch.empty(embedding.num_embeddings, 1, device=ids.device).bernoulli_(1 - p) / (1 - p)
    return vectors * F.embedding(ids, keep)


class WordDropout(nn.Module):
    """Hides words at random behind another id, in training; never bos or eos.

    Args:
        p: probability of hiding a word.
        substitute: unk or mask, the token that stands in its place.
        model_config: the TextVAEConfig (for the special ids).
        where: the section of the recipe, for the message.

    Raises:
        ValueError: the tokenizer has no such token.

    Source: Bowman et al. 2016, arXiv 1511.06349, section 3.1.
    """

    def __init__(self, p: float, substitute: str, model_config, where: str):
        super().__init__()
        self.p = p
        self.substitute_id = getattr(model_config, f"{substitute}_token_id")
        self.protected_ids = (model_config.bos_token_id, model_config.eos_token_id)
        if p and self.substitute_id is None:
            raise ValueError(
                f"{where}.word_dropout_with: the tokenizer has no {substitute} token; choose the other one or set "
                "word_dropout to 0"
            )

    def forward(self, ids: Tensor) -> Tensor:
        """(B,T) -> (B,T)."""
        if not self.training or self.p == 0:
            return ids
        hide = torch.rand(ids.shape, device=ids.device) < self.p
        for protected in self.protected_ids:
            hide &= ids != protected
        return ids.masked_fill(hide, self.substitute_id)


def kept_weights(weight: Tensor, p: float) -> Tensor:
    """A mask of 0 and 1 / (1 - p) in the shape of a weight, with p rounded to a multiple of 1/256.

    One random byte a weight, drawn eight at a time: on a processor drawing takes most of the time, and this mask is
    much larger than those of activations.
    """
    words = torch.empty(-(-weight.numel() // 8), dtype=torch.int64, device=weight.device).random_(-(2**63), None)
    dropped = round(256 * p)
    keep = words.view(torch.uint8)[: weight.numel()].view_as(weight) >= dropped
    return keep * (256 / (256 - dropped))


def recurrent(layer: nn.GRU | nn.LSTM, x: Tensor, state, p: float):
    """Runs a recurrent layer; in training without some of the weights from state to state, the same at every step.

    Args:
        layer: one layer, one direction, batch first.
        x: (B,T,H).
        state: the layer's first state as it takes it, or None for zeros.
        p: probability of dropping a weight.

    Returns:
        the layer's outputs and last state.

    Source: Wan et al. 2013 (DropConnect); Merity et al. 2018, arXiv 1708.02182, section 2 (weight-dropped LSTM).
    """
    if not layer.training or p == 0:
        return layer(x, state)
    input_weight, state_weight, *biases = layer._flat_weights
    weights = [input_weight, state_weight * kept_weights(state_weight, p), *biases]
    lstm = isinstance(layer, nn.LSTM)
    if state is None:
        zeros = x.new_zeros(1, x.shape[0], layer.hidden_size)
        state = (zeros, zeros) if lstm else zeros
    # has_biases, num_layers, dropout, train, bidirectional, batch_first
    options = (True, 1, 0.0, True, False, True)
    if lstm:
        outputs, h, c = torch.lstm(x, state, weights, *options)
        return outputs, (h, c)
    return torch.gru(x, state, weights, *options)
