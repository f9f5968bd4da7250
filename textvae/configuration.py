"""TextVAEConfig: what a model is made of. Choices and sizes only; training and decoding have their own places."""

from __future__ import annotations

import difflib
from dataclasses import field
from importlib import import_module
from typing import Any

from pydantic import Field, field_validator, model_validator
from transformers import AutoConfig, PreTrainedConfig

from textvae import registry
from textvae.validation import Section, parse_section, suggest

_PLACES = {"euclidean": "anywhere in space", "sphere": "on the unit sphere"}


def refusal(posterior: str, prior: str) -> str | None:
    """Why a posterior and a prior do not go together, from what each declares; None where they do.

    Args:
        posterior, prior: kinds.
    """
    q, p = registry.part("posterior", posterior), registry.part("prior", prior)
    if p.support not in (None, q.support):
        return (
            f"a {posterior} posterior puts z {_PLACES[q.support]}, a {prior} prior {_PLACES[p.support]}: their "
            "divergence is infinite"
        )
    if p.learned and not q.has_density:
        return f"a {posterior} posterior has no density, so there is no rate for a {prior} prior to learn from"
    return None


class LatentConfig(Section):
    """The latent variable.

    Args:
        size: dimensions of z; 0 makes the model a plain language model, without encoder.
        posterior: kind of q(z|x), or a mapping with `kind` and its own keys.
        prior: kind of p(z), or a mapping with `kind` and its own keys.
    """

    size: int = Field(32, ge=0)
    posterior: str | dict[str, Any] = registry.DEFAULT_KINDS["posterior"]
    prior: str | dict[str, Any] = registry.DEFAULT_KINDS["prior"]

    @field_validator("posterior", "prior", mode="before")
    @classmethod
    def _known(cls, value: Any, info) -> dict[str, Any]:
        default = cls.model_fields[info.field_name].default
        return registry.resolve(info.field_name, value, f"model.latent.{info.field_name}", default)

    @model_validator(mode="after")
    def _together(self) -> LatentConfig:
        posterior, prior = self.posterior["kind"], self.prior["kind"]
        reason = refusal(posterior, prior)
        if reason:
            others = [kind for kind in registry.kinds("prior") if not refusal(posterior, kind)]
            raise ValueError(
                f"model.latent.prior: {prior!r} does not go with posterior {posterior!r}: {reason}; priors for it: "
                f"{', '.join(others)}"
            )
        if self.size == 1 and registry.part("posterior", posterior).support == "sphere":
            raise ValueError(f"model.latent.size: 1 is too few for posterior {posterior!r}: a sphere has 2 or more")
        return self


class TextVAEConfig(PreTrainedConfig):
    """Configuration of a TextVAEModel.

    Args:
        vocab_size: number of ids.
        encoder: mapping with `kind` and the encoder's keys.
        latent: mapping with `size`, `posterior`, `prior`.
        decoder: mapping with `kind` and the decoder's keys.
        pad_token_id, bos_token_id, eos_token_id: as in every transformers configuration.
        unk_token_id: the unknown word, never generated unless asked for.
        mask_token_id: what word dropout may put in place of a word.
        encoder_pad_token_id: padding of an encoder with a tokenizer of its own; null where both read the same ids.

    Raises:
        ValueError: an unknown key, a wrong type or a value out of range, in one line.
    """

    model_type = "textvae"

    vocab_size: int = 0
    encoder: dict = field(default_factory=lambda: {"kind": registry.DEFAULT_KINDS["encoder"]})
    latent: dict = field(default_factory=dict)
    decoder: dict = field(default_factory=lambda: {"kind": registry.DEFAULT_KINDS["decoder"]})
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | None = 2
    unk_token_id: int | None = 3
    mask_token_id: int | None = 4
    encoder_pad_token_id: int | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        import_module("textvae.modeling")  # registers the model: whoever loads one has a configuration first
        # PreTrainedConfig keeps any name it is given; one that looks like a part is a part misspelt.
        parts = ["vocab_size", "encoder", "latent", "decoder"]
        for name in kwargs:
            if difflib.get_close_matches(name, parts, n=1, cutoff=0.8):
                raise ValueError(f"{name}: unknown key; {suggest(name, parts)}")
        if type(self.vocab_size) is not int or self.vocab_size < 0:
            raise ValueError(f"vocab_size: {self.vocab_size!r} is not allowed; it is the tokenizer's number of ids")
        self.latent = parse_section(LatentConfig, self.latent, "model.latent").model_dump()
        self.encoder = registry.resolve("encoder", self.encoder, "model.encoder")
        self.decoder = registry.resolve("decoder", self.decoder, "model.decoder")
        super().__post_init__(**kwargs)

    @property
    def latent_size(self) -> int:
        """Dimensions of z; 0 in a plain language model."""
        return self.latent["size"]

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> TextVAEConfig:
        """This configuration itself: `encoder` and `decoder` are plain mappings here, not configurations."""
        return self


AutoConfig.register("textvae", TextVAEConfig)
