"""The decoder of any encoder-decoder of transformers (T5 and its kin): z is what it attends to.

Shapes: N sentences (samples times sentences), T tokens, D latent dimensions, M slots, H features.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from transformers import AutoModelForSeq2SeqLM, DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from textvae.decoders.base import DecoderConfig
from textvae.decoders.pretrained import BackboneDecoder, PretrainedState
from textvae.layers.pretrained import PretrainedConfig
from textvae.outputs import DecoderOutput
from textvae.registry import register

Injection = Literal["cross", "embedding"]


class Seq2SeqDecoderConfig(PretrainedConfig, DecoderConfig):
    """The decoder of a pretrained encoder-decoder.

    Args:
        inject: where z enters: cross (tokens that stand for the encoder's states) and embedding (added to every word
            vector).
        latent_slots: tokens of the cross-attention.
    """

    inject: tuple[Injection, ...] = ("cross",)
    latent_slots: int = Field(4, ge=1)

    @field_validator("inject")
    @classmethod
    def _cross(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "cross" not in value or len(set(value)) < len(value):
            raise ValueError("name cross, which such a decoder cannot do without, and perhaps embedding, each once")
        return value


@register("decoder", "seq2seq", Seq2SeqDecoderConfig)
class Seq2SeqDecoder(BackboneDecoder):
    """Tokens made of z stand where the pretrained encoder's states stood.

    With a latent size of 0 it attends to one vector of zeros. Where it was pretrained to start with another token than
    bos (BART: eos, then bos), it reads that token before a text.

    Args:
        config: its configuration.
        model_config: the TextVAEConfig, where the architecture is noted.

    Source: as in T5-VAE, Park & Lee 2021, arXiv 2108.02446.
    """

    def __init__(self, config: Seq2SeqDecoderConfig, model_config):
        super().__init__(config, model_config, AutoModelForSeq2SeqLM)
        text = self.backbone.config.get_text_config(decoder=True)
        self.size, self.softcap = text.hidden_size, getattr(text, "final_logit_softcapping", None)
        start = getattr(self.backbone.config, "decoder_start_token_id", None)
        self.start = [] if start in (None, model_config.bos_token_id) else [start]
        self.before = len(self.start)
        if self.latent_size:
            self.latent_tokens = nn.Linear(self.latent_size, config.latent_slots * self.size)
            if "embedding" in config.inject:
                self.latent_embedding = nn.Linear(self.latent_size, self.size, bias=False)

    def part_of(self, model: nn.Module) -> nn.Module:
        """All but the layers of its encoder, which nothing would read."""
        encoder = model.get_encoder()
        for name in ("block", "layers"):
            if hasattr(encoder, name):
                setattr(encoder, name, nn.ModuleList())
        return model

    @property
    def embedding(self) -> nn.Embedding:
        """The backbone's word vectors."""
        return self.backbone.get_decoder().get_input_embeddings()

    def started(self, ids: Tensor) -> Tensor:
        """The ids behind the token that pretraining started with."""
        return torch.cat([ids.new_tensor(self.start).expand(len(ids), -1), ids], 1)

    @property
    def softmax_bias(self) -> Tensor | None:
        """(V,) or None; BART keeps it apart from the softmax layer."""
        bias = getattr(self.backbone, "final_logits_bias", None)
        return None if bias is None else bias[0]

    def both_logits(self, ids: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the whole encoder-decoder and ours, both attending to what a z of zeros gives."""
        z = torch.zeros_like(z)
        tokens = self.latent_tokens(z).view(len(z), -1, self.size) if self.latent_size else z.new_zeros(2, 1, self.size)
        states = BaseModelOutput(last_hidden_state=tokens)
        theirs = self.backbone(decoder_input_ids=self.started(ids), encoder_outputs=states).logits.float()
        return theirs[:, self.before :], self.logits(self(ids, z).features)

    def forward(self, ids: Tensor, z: Tensor, state: PretrainedState | None = None) -> DecoderOutput:
        """Reads input ids.

        Args:
            ids: (N,T), padded on the right.
            z: (N,D).
            state: what was read before; it is updated in place.

        Returns:
            features (N,T,H) and the state.
        """
        past = state.length if state is not None else 0
        self.check_length(past + ids.shape[1])
        cache = None
        if state is not None:
            cache = state.cache if past else EncoderDecoderCache(DynamicCache(), DynamicCache())
        hidden = self.drop_words(ids)
        x = self.embedding(hidden if past else self.started(hidden))
        tokens = x.new_zeros(len(z), 1, self.size)
        if self.latent_size:
            tokens = self.latent_tokens(z).view(len(z), -1, self.size)
            if "embedding" in self.config.inject:
                x = x + self.latent_embedding(z)[:, None]
        output = self.backbone.get_decoder()(
            inputs_embeds=x, encoder_hidden_states=tokens, past_key_values=cache, use_cache=cache is not None
        )
        if state is not None:
            state.cache, state.length = output.past_key_values, past + ids.shape[1]
        features = output.last_hidden_state[:, -ids.shape[1] :]
        if getattr(self.backbone.config, "scale_decoder_outputs", False):
            features = features * self.size**-0.5  # T5 does so where its vectors are tied
        return DecoderOutput(features, state)
