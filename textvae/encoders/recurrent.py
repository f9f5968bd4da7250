"""GRU and LSTM encoders. Shapes: B sentences, T tokens, H features a direction."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from textvae.encoders.pooling import Pooling, PoolingKind, sum_of_words
from textvae.layers.dropout import LockedDropout, WordDropout, embed
from textvae.layers.rotation import check_even
from textvae.registry import register
from textvae.validation import Section


class RecurrentEncoderConfig(Section):
    """A recurrent encoder.

    Args:
        cell: gru or lstm.
        embedding_size: size of the word vectors.
        share_embeddings: read the decoder's word vectors instead of vectors of its own, which helps on small corpora.
        hidden_size: H, features of each direction.
        num_layers: layers.
        bidirectional: whether a second network reads from the end.
        pooling: last, mean, max, attention or rotary.
        word_sum: put the sum of the T word vectors over sqrt(T) beside what is pooled: a short way from words to z,
            which on small corpora carries words that the recurrent layers have seen too seldom to pass on.
        dropout: locked dropout on word vectors, between layers and on the states before pooling.
        embedding_dropout: probability of dropping a word type.
        word_dropout: probability of hiding an input word in training.
        word_dropout_with: unk or mask, the token that stands in its place.
    """

    cell: Literal["gru", "lstm"] = "gru"
    embedding_size: int = Field(256, ge=1)
    share_embeddings: bool = False
    hidden_size: int = Field(256, ge=1)
    num_layers: int = Field(1, ge=1)
    bidirectional: bool = True
    pooling: PoolingKind = "max"
    word_sum: bool = False
    dropout: float = Field(0.0, ge=0, lt=1)
    embedding_dropout: float = Field(0.0, ge=0, lt=1)
    word_dropout: float = Field(0.0, ge=0, le=1)
    word_dropout_with: Literal["unk", "mask"] = "unk"

    @model_validator(mode="after")
    def _pairs(self):
        if self.pooling == "rotary":
            check_even((1 + self.bidirectional) * self.hidden_size, "states for rotary pooling")
        return self


def reverse(x: Tensor, lengths: Tensor) -> Tensor:
    """Turns each sentence around and leaves its padding on the right; it is its own inverse.

    A network run forwards over the result reads each sentence from its own end, so padding never reaches a state
    that counts, and no sentence has to be sorted or packed.

    Args:
        x: (B,T,H).
        lengths: (B,) tokens in each sentence.
    """
    steps = torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1)
    index = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    return x.gather(1, index[..., None].expand_as(x))


@register("encoder", "recurrent", RecurrentEncoderConfig)
class RecurrentEncoder(nn.Module):
    """Word vectors, recurrent layers, pooling.

    Args:
        config: its configuration.
        model_config: the TextVAEConfig (for the size of the vocabulary).
    """

    def __init__(self, config: RecurrentEncoderConfig, model_config):
        super().__init__()
        self.config = config
        self.drop_words = WordDropout(config.word_dropout, config.word_dropout_with, model_config, "model.encoder")
        # Of the decoder's word vectors, where they are read.
        self.shared_size = config.embedding_size if config.share_embeddings else None
        if not config.share_embeddings:
            self.embedding = nn.Embedding(model_config.vocab_size, config.embedding_size)
        cell = {"gru": nn.GRU, "lstm": nn.LSTM}[config.cell]
        directions = 2 if config.bidirectional else 1
        sizes = [config.embedding_size] + [directions * config.hidden_size] * (config.num_layers - 1)
        self.forwards = nn.ModuleList(cell(size, config.hidden_size, batch_first=True) for size in sizes)
        if config.bidirectional:
            self.backwards = nn.ModuleList(cell(size, config.hidden_size, batch_first=True) for size in sizes)
        self.drop = LockedDropout(config.dropout)
        state_size = directions * config.hidden_size
        self.pooling = Pooling(config.pooling, state_size)
        self.output_size = state_size + (config.embedding_size if config.word_sum else 0)

    def forward(self, ids: Tensor, mask: Tensor, word_vectors: nn.Embedding | None = None) -> Tensor:
        """Summarises sentences.

        Args:
            ids: (B,T).
            mask: (B,T), 1 for tokens and 0 for padding on the right.
            word_vectors: the decoder's, read where share_embeddings says so.

        Returns:
            (B, output_size), in the order of the batch.
        """
        lengths = mask.sum(1)
        embedding = word_vectors if self.config.share_embeddings else self.embedding
        words = x = self.drop(embed(embedding, self.drop_words(ids), self.config.embedding_dropout, self.training))
        for layer, forwards in enumerate(self.forwards):
            states = forwards(x)[0]
            if self.config.bidirectional:
                states = torch.cat([states, reverse(self.backwards[layer](reverse(x, lengths))[0], lengths)], -1)
            x = self.drop(states)
        if self.config.pooling == "last" and self.config.bidirectional:
            # The backward network has read the whole sentence when it arrives at the first token, not at the last.
            forward_half, backward_half = x.chunk(2, -1)
            pooled = torch.cat([self.pooling(forward_half, mask), backward_half[:, 0]], -1)
        else:
            pooled = self.pooling(x, mask)
        if not self.config.word_sum:
            return pooled
        return torch.cat([pooled, sum_of_words(words, mask)], -1)
