"""Transformer encoder. Shapes: B sentences, T tokens, H features."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from textvae.encoders.pooling import Pooling, PoolingKind
from textvae.layers.attention import TransformerBlock
from textvae.layers.dropout import WordDropout, embed
from textvae.registry import register
from textvae.validation import Section


class TransformerEncoderConfig(Section):
    """A transformer encoder.

    Args:
        hidden_size: H, also the size of the word vectors.
        share_embeddings: read the decoder's word vectors instead of vectors of its own, which helps on small corpora.
        num_layers: blocks.
        num_heads: attention heads.
        feedforward_size: width of the inner layer; 4 H when null.
        positions: rotary, or learned (then sentences have at most max_positions tokens).
        max_positions: learned positions.
        pooling: last, mean, max, attention or rotary.
        dropout: on word vectors, attention weights and what each part adds.
        word_dropout: probability of hiding an input word in training.
        word_dropout_with: unk or mask, the token that stands in its place.
    """

    hidden_size: int = Field(256, ge=2)
    share_embeddings: bool = False
    num_layers: int = Field(2, ge=1)
    num_heads: int = Field(4, ge=1)
    feedforward_size: int | None = Field(None, ge=1)
    positions: Literal["rotary", "learned"] = "rotary"
    max_positions: int = Field(512, ge=2)
    pooling: PoolingKind = "mean"
    dropout: float = Field(0.1, ge=0, lt=1)
    word_dropout: float = Field(0.0, ge=0, le=1)
    word_dropout_with: Literal["unk", "mask"] = "unk"

    @model_validator(mode="after")
    def _divisible(self):
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(f"hidden_size {self.hidden_size} must be divisible by twice num_heads {self.num_heads}")
        return self


@register("encoder", "transformer", TransformerEncoderConfig)
class TransformerEncoder(nn.Module):
    """Word vectors, positions, pre-norm blocks that see the whole sentence, pooling.

    Args:
        config: its configuration.
        model_config: the TextVAEConfig (for the size of the vocabulary).
    """

    def __init__(self, config: TransformerEncoderConfig, model_config):
        super().__init__()
        self.config = config
        self.drop_words = WordDropout(config.word_dropout, config.word_dropout_with, model_config, "model.encoder")
        size = config.hidden_size
        # Of the decoder's word vectors, where they are read.
        self.shared_size = size if config.share_embeddings else None
        if not config.share_embeddings:
            self.embedding = nn.Embedding(model_config.vocab_size, size)
        if config.positions == "learned":
            self.position_embedding = nn.Embedding(config.max_positions, size)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                size,
                config.num_heads,
                config.feedforward_size or 4 * size,
                config.positions == "rotary",
                config.dropout,
            )
            for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(size)
        self.output_size = size
        self.pooling = Pooling(config.pooling, size)

    @property
    def max_tokens(self) -> int | None:
        """Longest text that it can read; None for any."""
        return self.config.max_positions if self.config.positions == "learned" else None

    def forward(self, ids: Tensor, mask: Tensor, word_vectors: nn.Embedding | None = None) -> Tensor:
        """Summarises sentences.

        Args:
            ids: (B,T).
            mask: (B,T), 1 for tokens and 0 for padding on the right.
            word_vectors: the decoder's, read where share_embeddings says so.

        Returns:
            (B, output_size).
        """
        positions = torch.arange(ids.shape[1], device=ids.device)
        embedding = word_vectors if self.config.share_embeddings else self.embedding
        x = embed(embedding, self.drop_words(ids), 0.0, self.training)
        if self.config.positions == "learned":
            if ids.shape[1] > self.config.max_positions:
                raise ValueError(
                    f"a text of {ids.shape[1]} tokens is longer than max_positions {self.config.max_positions}: "
                    "raise model.encoder.max_positions or choose positions: rotary"
                )
            x = x + self.position_embedding(positions)
        x = self.drop(x)
        visible = mask.bool()[:, None, None, :]
        for block in self.blocks:
            x = block(x, visible, positions)
        return self.pooling(self.norm(x), mask)
