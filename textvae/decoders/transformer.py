"""Transformer decoder.

Shapes: N sentences (samples times sentences), T tokens, D latent dimensions, H features, M slots, L layers, A heads.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn
from transformers import DynamicCache

from textvae.decoders.base import VocabularyDecoder, VocabularyDecoderConfig
from textvae.layers.attention import TransformerBlock
from textvae.layers.dropout import embed
from textvae.layers.rotation import RotaryMemory
from textvae.outputs import DecoderOutput
from textvae.registry import register

Injection = Literal["memory", "embedding", "output", "cross", "rotary"]


class TransformerDecoderConfig(VocabularyDecoderConfig):
    """A transformer decoder.

    Args:
        hidden_size: H, also the size of the word vectors.
        num_layers: blocks.
        num_heads: attention heads.
        feedforward_size: width of the inner layer; 4 H when null.
        positions: rotary, or learned (then texts have at most max_positions tokens).
        max_positions: learned positions.
        inject: where z enters, any subset of memory (keys and values of its own in each layer), embedding (added to
            every word vector), output (before the softmax), cross (tokens that each layer attends to) and rotary (added
            to every word vector and before the softmax, turned back by the place of the word to come: for an encoder
            with rotary pooling).
        latent_slots: memory slots of each layer, and tokens of the cross-attention.
        dropout: on word vectors, attention weights and what each part adds.
    """

    hidden_size: int = Field(256, ge=2)
    num_layers: int = Field(3, ge=1)
    num_heads: int = Field(4, ge=1)
    feedforward_size: int | None = Field(None, ge=1)
    positions: Literal["rotary", "learned"] = "rotary"
    max_positions: int = Field(512, ge=2)
    inject: tuple[Injection, ...] = ("memory", "embedding")
    latent_slots: int = Field(1, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)

    @field_validator("inject")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError("name at least one of memory, embedding, output, cross, rotary, each once")
        return value

    @model_validator(mode="after")
    def _divisible(self):
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(f"hidden_size {self.hidden_size} must be divisible by twice num_heads {self.num_heads}")
        return self


@register("decoder", "transformer", TransformerDecoderConfig)
class TransformerDecoder(VocabularyDecoder):
    """Word vectors (plus z), causal pre-norm blocks (that see z), a projection where embeddings are tied, the softmax.

    Args:
        config: its configuration.
        model_config: the TextVAEConfig.

    Source: Li et al. 2020 (Optimus), arXiv 2004.04092, figure 3, for z as memory and z added to the embeddings.
    """

    def __init__(self, config: TransformerDecoderConfig, model_config):
        size = config.hidden_size
        super().__init__(config, model_config, size, size)
        self.inject = config.inject if self.latent_size else ()
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
                cross="cross" in self.inject,
            )
            for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(size)
        # The residual stream carries the word just read; a softmax of the same vectors would say it once more.
        self.projection = nn.Linear(size, size) if config.tie_embeddings else nn.Identity()
        if "memory" in self.inject:
            self.memory = nn.Linear(self.latent_size, config.num_layers * 2 * config.latent_slots * size)
        if "embedding" in self.inject:
            self.latent_embedding = nn.Linear(self.latent_size, size, bias=False)
        if "output" in self.inject:
            self.output = nn.Linear(self.latent_size, size, bias=False)
        if "cross" in self.inject:
            self.latent_tokens = nn.Linear(self.latent_size, config.latent_slots * size)
        if "rotary" in self.inject:
            self.rotary = RotaryMemory(self.latent_size, size)
            self.recall = nn.Linear(size, size, bias=False)

    def new_state(self) -> DynamicCache:
        """An empty cache for generation."""
        return DynamicCache()

    def slots(self, z: Tensor) -> list[tuple[Tensor, Tensor] | None]:
        """Keys and values (N,A,M,H/A) of z in each layer."""
        if "memory" not in self.inject:
            return [None] * len(self.blocks)
        config = self.config
        parts = self.memory(z).view(len(z), config.num_layers, 2, config.latent_slots, config.num_heads, -1)
        parts = parts.transpose(3, 4)  # (N,L,2,A,M,H/A)
        return [(parts[:, layer, 0], parts[:, layer, 1]) for layer in range(config.num_layers)]

    @property
    def max_tokens(self) -> int | None:
        """Longest text that it can read; None for any."""
        return self.config.max_positions if self.config.positions == "learned" else None

    def forward(self, ids: Tensor, z: Tensor, state: DynamicCache | None = None) -> DecoderOutput:
        """Reads input ids.

        Args:
            ids: (N,T).
            z: (N,D).
            state: keys and values of earlier tokens; it is updated in place.

        Returns:
            features (N,T,H) and the state.
        """
        past = state.get_seq_length() if state is not None else 0
        positions = torch.arange(past, past + ids.shape[1], device=ids.device)
        x = embed(self.embedding, self.drop_words(ids), self.config.embedding_dropout, self.training)
        if self.config.positions == "learned":
            if past + ids.shape[1] > self.config.max_positions:
                raise ValueError(
                    f"a text of {past + ids.shape[1]} tokens is longer than max_positions "
                    f"{self.config.max_positions}: raise model.decoder.max_positions or choose positions: rotary"
                )
            x = x + self.position_embedding(positions)
        if "embedding" in self.inject:
            x = x + self.latent_embedding(z)[:, None]
        if "rotary" in self.inject:  # the word to come behind the first one read has place 1
            turned = self.rotary(z, 1 + past, ids.shape[1])
            x = x + turned
        x = self.drop(x)
        # Right-padded sentences need no padding mask: a real token sees only tokens on its left.
        memory = self.config.latent_slots if "memory" in self.inject else 0
        keys = torch.arange(-memory, past + ids.shape[1], device=ids.device)
        mask = keys[None, :] <= positions[:, None]  # (T, M + K): latent slots are in everyone's past
        context = None
        if "cross" in self.inject:
            context = self.latent_tokens(z).view(len(z), self.config.latent_slots, -1)
        for layer, (block, slots) in enumerate(zip(self.blocks, self.slots(z), strict=True)):
            x = block(x, mask, positions, slots, state, layer, context)
        x = self.projection(self.norm(x))
        if "output" in self.inject:
            x = x + self.output(z)[:, None]
        if "rotary" in self.inject:
            x = x + self.recall(turned)
        return DecoderOutput(x, state)
