"""GRU and LSTM decoders.

Shapes: N sentences (samples times sentences), T tokens, D latent dimensions, H features, E features before softmax.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from textvae.decoders.base import VocabularyDecoder, VocabularyDecoderConfig
from textvae.layers.dropout import LockedDropout, embed, recurrent
from textvae.layers.rotation import RotaryMemory, check_even
from textvae.outputs import DecoderOutput
from textvae.registry import register

Injection = Literal["initial", "concat", "output", "rotary"]


class RecurrentDecoderConfig(VocabularyDecoderConfig):
    """A recurrent decoder.

    Args:
        cell: gru or lstm.
        embedding_size: size of the word vectors.
        hidden_size: H.
        num_layers: layers.
        inject: where z enters, any subset of initial (first state), concat (beside each word vector), output
            (added before the softmax) and rotary (beside each word vector and before the softmax, turned back by the
            place of the word to come: for an encoder with rotary pooling).
        dropout: locked dropout on word vectors, between layers and before the softmax.
        weight_dropout: probability of dropping a weight from state to state.
    """

    cell: Literal["gru", "lstm"] = "gru"
    embedding_size: int = Field(256, ge=1)
    hidden_size: int = Field(512, ge=1)
    num_layers: int = Field(1, ge=1)
    inject: tuple[Injection, ...] = ("initial", "concat")
    weight_dropout: float = Field(0.0, ge=0, lt=1)

    @field_validator("inject")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError("name at least one of initial, concat, output, rotary, each once")
        return value

    @model_validator(mode="after")
    def _pairs(self):
        if "rotary" in self.inject:
            check_even(self.embedding_size, "word vectors beside rotary in inject")
        return self


class RecurrentState:
    """The state of recurrent layers during generation, in the shape that `generate` expects of a cache."""

    is_compileable = is_croppable = False

    def __init__(self):
        self.layers: list[tuple[Tensor, ...]] = []
        self.length = 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens read so far."""
        return self.length

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keeps the states of the chosen beams."""
        self.layers = [tuple(part[:, beam_idx] for part in layer) for layer in self.layers]


@register("decoder", "recurrent", RecurrentDecoderConfig)
class RecurrentDecoder(VocabularyDecoder):
    """Word vectors (beside z), recurrent layers (started from z), a projection, (plus z), the softmax.

    Args:
        config: its configuration.
        model_config: the TextVAEConfig.

    Source: Bowman et al. 2016, arXiv 1511.06349 (z as first state); He et al. 2019, arXiv 1901.05534 (z beside each
    word vector, first cell W z and first state tanh(W z)).
    """

    def __init__(self, config: RecurrentDecoderConfig, model_config):
        feature_size = config.embedding_size if config.tie_embeddings else config.hidden_size
        super().__init__(config, model_config, config.embedding_size, feature_size)
        self.inject = config.inject if self.latent_size else ()
        first = config.embedding_size + (self.latent_size if "concat" in self.inject else 0)
        first += config.embedding_size if "rotary" in self.inject else 0
        sizes = [first] + [config.hidden_size] * (config.num_layers - 1)
        cell = {"gru": nn.GRU, "lstm": nn.LSTM}[config.cell]
        self.layers = nn.ModuleList(cell(size, config.hidden_size, batch_first=True) for size in sizes)
        self.drop = LockedDropout(config.dropout)
        self.projection = (
            nn.Identity() if feature_size == config.hidden_size else nn.Linear(config.hidden_size, feature_size)
        )
        if "initial" in self.inject:
            self.initial = nn.Linear(self.latent_size, config.num_layers * config.hidden_size)
        if "output" in self.inject:
            self.output = nn.Linear(self.latent_size, feature_size, bias=False)
        if "rotary" in self.inject:
            self.rotary = RotaryMemory(self.latent_size, config.embedding_size)
            self.recall = nn.Linear(config.embedding_size, feature_size, bias=False)

    def new_state(self) -> RecurrentState:
        """An empty state for generation."""
        return RecurrentState()

    def first_states(self, z: Tensor) -> list[tuple[Tensor, ...] | None]:
        """The layers' first states, h = tanh(W z) and in an LSTM c = W z; None stands for zeros."""
        if "initial" not in self.inject:
            return [None] * len(self.layers)
        cells = self.initial(z).chunk(len(self.layers), -1)
        if self.config.cell == "gru":
            return [(cell.tanh()[None].contiguous(),) for cell in cells]
        return [(cell.tanh()[None].contiguous(), cell[None].contiguous()) for cell in cells]

    def forward(self, ids: Tensor, z: Tensor, state: RecurrentState | None = None) -> DecoderOutput:
        """Reads input ids.

        Args:
            ids: (N,T).
            z: (N,D).
            state: what was read before; it is updated in place.

        Returns:
            features (N,T,E) and the state.
        """
        x = self.drop(embed(self.embedding, self.drop_words(ids), self.config.embedding_dropout, self.training))
        if "concat" in self.inject:
            x = torch.cat([x, z[:, None].expand(-1, x.shape[1], -1).to(x.dtype)], -1)
        if "rotary" in self.inject:  # the word to come behind the first one read has place 1
            turned = self.rotary(z, 1 + (state.length if state is not None else 0), ids.shape[1]).to(x.dtype)
            x = torch.cat([x, turned], -1)
        states = state.layers if state is not None and state.length else self.first_states(z)
        after = []
        for layer, previous in zip(self.layers, states, strict=True):
            if self.config.cell == "gru":
                x, last = recurrent(layer, x, previous and previous[0], self.config.weight_dropout)
                after.append((last,))
            else:
                x, last = recurrent(layer, x, previous, self.config.weight_dropout)
                after.append(last)
            x = self.drop(x)
        if state is not None:
            state.layers, state.length = after, state.length + ids.shape[1]
        x = self.projection(x)
        if "output" in self.inject:
            x = x + self.output(z)[:, None].to(x.dtype)
        if "rotary" in self.inject:
            x = x + self.recall(turned)
        return DecoderOutput(x, state)
