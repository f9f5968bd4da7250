"""Any causal language model of transformers as a decoder.

Shapes: N sentences (samples times sentences), T tokens, D latent dimensions, H features, V vocabulary.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, DynamicCache

from textvae.decoders.base import Decoder, DecoderConfig
from textvae.decoders.recurrent import RecurrentDecoder, RecurrentDecoderConfig, RecurrentState
from textvae.decoders.seen_words import SeenWords
from textvae.layers.cross_entropy import bent
from textvae.layers.pretrained import PretrainedConfig, PretrainedPart
from textvae.outputs import DecoderOutput
from textvae.registry import register
from textvae.validation import one_line

Injection = Literal["memory", "prefix", "embedding", "output"]


class BesideConfig(RecurrentDecoderConfig):
    """A recurrent decoder beside a pretrained one.

    Args:
        anchor_embeddings: word vectors begin as the pretrained ones, and weight decay draws them back to these.
    """

    anchor_embeddings: bool = True


class PretrainedDecoderConfig(PretrainedConfig, DecoderConfig):
    """A pretrained decoder: GPT-2, Llama, Qwen, SmolLM, Gemma, Mistral and their kin.

    Args:
        inject: where z enters, any subset of memory (keys and values of its own in each layer), prefix (soft tokens
            before the sentence), embedding (added to every word vector) and output (added before the softmax). None
            is needed where there is something beside it.
        latent_slots: memory slots of each layer, and tokens of the prefix.
        beside: keys of a recurrent decoder whose logits are added to those of the pretrained one, and whose word
            vectors begin as those of the pretrained one, to which weight decay draws them back.
    """

    beside: BesideConfig | None = None
    inject: tuple[Injection, ...] = ("memory", "embedding")
    latent_slots: int = Field(1, ge=1)

    @field_validator("inject")
    @classmethod
    def _once(cls, value: tuple[str, ...], others: ValidationInfo) -> tuple[str, ...]:
        if len(set(value)) < len(value) or not (value or others.data.get("beside")):
            raise ValueError("name at least one of memory, prefix, embedding, output, each once")
        return value


# How large what a z of size 1 gives is at first, in sizes of the word vectors that it stands before or is added to.
WAYS_IN = {"prefix": 1.0, "latent_embedding": 0.3}


def filled(values: Tensor, size: int, dim: int) -> Tensor:
    """Zeros behind the values of a vocabulary: a pretrained softmax may have more rows than the tokenizer has words."""
    lacking = size - values.shape[dim]
    if not lacking:
        return values
    shape = list(values.shape)
    shape[dim] = lacking
    return torch.cat([values, values.new_zeros(shape)], dim)


class PretrainedState:
    """Keys and values of z and of the tokens read so far, in the shape that `generate` expects of a cache.

    And the state of a decoder beside.
    """

    is_compileable = is_croppable = False

    def __init__(self):
        self.cache: DynamicCache | None = None
        self.beside = RecurrentState()
        self.length = 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens read so far; what stands for z does not count."""
        return self.length

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keeps the states of the chosen beams."""
        self.cache.reorder_cache(beam_idx)
        self.beside.reorder_cache(beam_idx)


class BackboneDecoder(PretrainedPart, Decoder):
    """What decoders around a pretrained model share: its vocabulary, its softmax layer, the state.

    A subclass gives `embedding`, `softmax_bias`, `both_logits`, `forward`, and `before`: tokens put before a text.

    Args:
        config: its configuration.
        model_config: the TextVAEConfig, where the architecture is noted.
        auto_class: of transformers, by which the model is built.
    """

    before = 0

    def __init__(self, config, model_config, auto_class):
        super().__init__(config, model_config)
        backbone = self.build_backbone(auto_class, config, model_config.decoder, "model.decoder")
        known = backbone.get_input_embeddings().num_embeddings
        if config.train != "all" and model_config.eos_token_id >= known:
            raise ValueError(
                f"model.decoder.train: {config.train} leaves word vectors as they are, but {config.name} has none for "
                "the end of a text (its tokenizer names no eos or sep token): take train: all"
            )
        if model_config.vocab_size > known:
            backbone.resize_token_embeddings(model_config.vocab_size, mean_resizing=False)
        self.backbone = backbone
        self.untie(config.untied)  # a vocabulary that grows is tied anew

    @property
    def softmax_weight(self) -> Tensor:
        """(V,H)."""
        return self.backbone.get_output_embeddings().weight

    @property
    def max_tokens(self) -> int | None:
        """Longest text that it can read, what is before it not counted; None for any."""
        positions = getattr(self.backbone.config.get_text_config(decoder=True), "max_position_embeddings", None)
        if not positions or positions < 0:  # XLNet has -1
            return None
        return positions - self.before

    def check_length(self, tokens: int) -> None:
        """Raises ValueError where a text is longer than the model can read."""
        if self.max_tokens and tokens > self.max_tokens:
            raise ValueError(
                f"a text of {tokens} tokens is longer than {self.config.name} can read, which is {self.max_tokens}: "
                "lower generation.max_new_tokens, or leave such texts out"
            )

    def load_weights(self, only: set[str] | None = None, **hub) -> None:
        """As for any pretrained part. Then ways into it that start with it are scaled to its word vectors.

        Raises:
            ValueError: the model is of a family that cannot be a decoder here.
        """
        super().load_weights(only, **hub)
        if only is None:  # else a saved model is loaded, which has passed this
            self.check_family()
            with torch.no_grad():  # what the layer gives, which some families scale
                some = self.embedding(torch.arange(min(1000, self.embedding.num_embeddings)))
                for name in (name for name in WAYS_IN if hasattr(self, name)):
                    std = WAYS_IN[name] * float(some.std()) * self.latent_size**-0.5
                    nn.init.normal_(getattr(self, name).weight, std=std)

    @torch.no_grad()
    def check_family(self) -> None:
        """Raises ValueError where it computes anything else than the pretrained model does, or looks ahead.

        A family may read both ways, bend its logits, or keep another cache; nothing that says so is common to all.
        """
        training, device = self.training, self.embedding.weight.device
        self.eval()
        ids = torch.arange(8, device=device).view(2, 4)
        z = torch.linspace(-1, 1, 2 * self.latent_size, device=device).view(2, -1)
        try:
            theirs, ours = self.both_logits(ids, z)
            features, state = self(ids, z).features, self.new_state()
            steps = torch.cat([self(ids[:, t : t + 1], z, state).features for t in range(4)], 1)
            other = self(torch.cat([ids[:, :3], ids[:, 3:] + 9], 1), z).features
        except Exception as error:  # whatever a family has against what the others take
            raise ValueError(f"{self.refusal} {one_line(error, 120)}") from None
        for what, a, b, tolerance in (
            ("it reads the words that it is to predict", other[:, :3], features[:, :3], 1e-5),
            ("its logits are not those of its features", ours, theirs, 1e-3),
            ("its cache changes what it computes", steps, features, 1e-3),
        ):
            if not (a - b).abs().max() < tolerance * (1 + b.abs().max()):
                raise ValueError(f"{self.refusal} {what}")
        self.train(training)

    def new_state(self) -> PretrainedState:
        """An empty state for generation."""
        return PretrainedState()


@register("decoder", "pretrained", PretrainedDecoderConfig)
class PretrainedDecoder(BackboneDecoder):
    """A causal language model that is told z.

    Tokens have the positions that they had in pretraining, from 0; behind a soft prefix, from the number of its slots.

    A recurrent decoder can stand beside it. The softmax then gives the product of two experts, up to its norm: of a
    model that knows the language, and of a small one that is made to turn z into text. Features are those of both side
    by side, and so is the softmax layer.

    Args:
        config: its configuration.
        model_config: the TextVAEConfig, where the architecture is noted.

    Source: Li et al. 2020 (Optimus), arXiv 2004.04092, section 3.1 (memory, embedding); Li & Liang 2021, arXiv
    2101.00190 (prefix); Hinton 2002, Training products of experts by minimizing contrastive divergence, equation 1
    (the product; here of each word's distribution).
    """

    def __init__(self, config: PretrainedDecoderConfig, model_config):
        super().__init__(config, model_config, AutoModelForCausalLM)
        text = self.backbone.config.get_text_config()
        self.softcap = getattr(text, "final_logit_softcapping", None)
        self.inject = config.inject if self.latent_size else ()
        if not hasattr(text, "num_attention_heads"):
            raise ValueError(f"{self.refusal} it has no attention, and so no keys and values to hold z")
        slots = config.latent_slots
        if "memory" in self.inject:
            try:
                self.layers, self.heads = text.num_hidden_layers, getattr(text, "num_key_value_heads", None)
                self.heads = self.heads or text.num_attention_heads
                self.head_size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
            except Exception as error:  # layers that are not all alike
                raise ValueError(f"{self.refusal} no memory can be made for it: {one_line(error, 120)}") from None
            self.memory = nn.Linear(self.latent_size, self.layers * 2 * slots * self.heads * self.head_size)
        if "prefix" in self.inject:
            self.before = slots
            self.prefix = nn.Linear(self.latent_size, slots * text.hidden_size)
        if "embedding" in self.inject:
            self.latent_embedding = nn.Linear(self.latent_size, text.hidden_size, bias=False)
        self.width = self.backbone.get_output_embeddings().in_features
        if "output" in self.inject:
            self.output = nn.Linear(self.latent_size, self.width, bias=False)
        self.beside = RecurrentDecoder(config.beside, model_config) if config.beside else None
        # Where it is set, what is beside the backbone predicts the text without it: see `Stage`.
        self.alone: SeenWords | None = None

    def load_weights(self, only: set[str] | None = None, **hub) -> None:
        """As for any pretrained part. Anchored word vectors of the decoder beside it begin from the backbone's."""
        super().load_weights(only, **hub)
        if only is None and self.beside is not None and self.beside.config.anchor_embeddings:
            self.beside.embedding.begin_from(self.embedding.weight[: self.beside.embedding.num_embeddings])

    def checkpoint(self, **options) -> None:
        """As for any pretrained part; keys and values for z cannot be had then."""
        if "memory" in self.inject:
            raise ValueError(
                "training.activation_checkpointing: transformers drops the keys and values of model.decoder.inject: "
                "memory; take inject: [prefix, embedding]"
            )
        super().checkpoint(**options)

    def both_logits(self, ids: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the pretrained model, and ours without z and what is beside it."""
        (inject, beside), (self.inject, self.beside) = (self.inject, self.beside), ((), None)
        ours = self.logits(self(ids, z).features)
        self.inject, self.beside = inject, beside
        return self.backbone(ids).logits.float(), ours

    @property
    def softmax_weight(self) -> Tensor:
        """(V,H), of both decoders side by side where there are two."""
        weight = super().softmax_weight
        if self.beside is None:
            return weight
        return torch.cat([weight, filled(self.beside.softmax_weight, len(weight), 0)], 1)

    @property
    def embedding(self) -> nn.Embedding:
        """The backbone's word vectors."""
        return self.backbone.get_input_embeddings()

    @property
    def shared_embedding(self) -> nn.Embedding:
        """Of the decoder beside it, where there is one."""
        return self.embedding if self.beside is None else self.beside.embedding

    @property
    def softmax_bias(self) -> Tensor | None:
        """(V,) of the softmax layer, or None."""
        bias = getattr(self.backbone.get_output_embeddings(), "bias", None)
        if self.beside is None:
            return bias
        beside = filled(self.beside.softmax_bias, len(super().softmax_weight), 0)
        return beside if bias is None else bias + beside

    def word_logits(self, z: Tensor) -> Tensor:
        """As for any decoder. Pretrained word vectors stay as they are: words without order are not what made them."""
        return F.linear(self.output(z), super().softmax_weight.detach()).float()

    def logits(self, features: Tensor) -> Tensor:
        """As for any decoder, but without putting two softmax layers side by side for every word."""
        if self.beside is None:
            return super().logits(features)
        weights = super().softmax_weight, self.beside.softmax_weight
        both = zip(features.tensor_split([self.width], -1), weights, strict=True)
        of_backbone, of_beside = (F.linear(part, weight.to(part.dtype)).float() for part, weight in both)
        logits = of_backbone + filled(of_beside, of_backbone.shape[-1], -1) + self.softmax_bias
        return bent(logits, self.softcap)

    def nll(self, features: Tensor, targets: Tensor) -> Tensor:
        """As for any decoder; without the backbone over the words of the corpus."""
        if self.alone is None:
            return super().nll(features, targets)
        return self.alone.nll(features, self.beside.softmax_weight, self.beside.softmax_bias, targets)

    def memory_of(self, z: Tensor) -> DynamicCache:
        """A cache that holds the keys and values of z in each layer, or nothing where z does not enter so."""
        cache = DynamicCache()
        if "memory" in self.inject:
            parts = self.memory(z).view(len(z), self.layers, 2, self.heads, -1, self.head_size)
            for layer in range(self.layers):
                cache.update(parts[:, layer, 0], parts[:, layer, 1], layer)
        return cache

    def forward(self, ids: Tensor, z: Tensor, state: PretrainedState | None = None) -> DecoderOutput:
        """Reads input ids.

        Args:
            ids: (N,T), padded on the right.
            z: (N,D).
            state: what was read before; it is updated in place.

        Returns:
            features (N,T,H) and the state.
        """
        if self.alone is not None:
            return self.beside(ids, z)
        past = state.length if state is not None else 0
        self.check_length(past + ids.shape[1])
        cached = state is not None or "memory" in self.inject
        cache = state.cache if past else self.memory_of(z) if cached else None
        x = self.embedding(self.drop_words(ids))
        if "embedding" in self.inject:
            x = x + self.latent_embedding(z)[:, None]
        positions = torch.arange(past, past + ids.shape[1], device=ids.device)
        if "prefix" in self.inject:
            # The prefix has the positions before those of the sentence.
            positions = positions + self.before
            if not past:
                x = torch.cat([self.prefix(z).view(len(z), self.before, -1).to(x.dtype), x], 1)
                positions = torch.cat([torch.arange(self.before, device=ids.device), positions])
        # A right-padded sentence needs no mask: a real token sees only tokens on its left.
        output = self.backbone.base_model(
            inputs_embeds=x, position_ids=positions[None], past_key_values=cache, use_cache=cached
        )
        if state is not None:
            state.cache, state.length = output.past_key_values, past + ids.shape[1]
        features = output.last_hidden_state[:, -ids.shape[1] :]
        if "output" in self.inject:
            features = features + self.output(z)[:, None].to(features.dtype)
        if self.beside is not None:
            beside = self.beside(ids, z, None if state is None else state.beside).features
            features = torch.cat([features, beside.to(features.dtype)], -1)
        return DecoderOutput(features, state)
