"""What the stages hand to each other: typed, per sentence, in nats.

Shapes: S latent samples, B sentences, T tokens, D latent dimensions, E features before the softmax, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.utils import ModelOutput


@dataclass
class DecoderOutput:
    """What a decoder returns.

    Args:
        features: (N,T,E), what the softmax layer sees.
        state: the decoder's state after these tokens, or None when none was passed in.
    """

    features: torch.Tensor
    state: Any = None


@dataclass
class TextVAEOutput(ModelOutput):
    """What the model returns: everything an objective needs, nothing reduced over sentences.

    Args:
        q: the posterior q(z|x) of the batch; None in a plain language model.
        z: (S,B,D) latent samples.
        log_q: (S,B) log q(z|x); None where q has no density.
        log_p: (S,B) log p(z).
        distortion: (S,B) -log p(x|z), summed over tokens (EOS counted, BOS not).
        rate: (B,) KL(q(z|x) || p(z)), never weighted; None where q has no density.
        rate_per_dimension: (B,D), or None where the rate does not factorise.
        sample_prior: n -> (n,D), draws from p(z); None in a plain language model.
        logits: (B,T,V), when decoding from a given z.
        past_key_values: the decoder's state, when decoding from a given z.
    """

    q: Any | None = None
    z: torch.Tensor | None = None
    log_q: torch.Tensor | None = None
    log_p: torch.Tensor | None = None
    distortion: torch.Tensor | None = None
    rate: torch.Tensor | None = None
    rate_per_dimension: torch.Tensor | None = None
    sample_prior: Callable[[int], torch.Tensor] | None = None
    logits: torch.Tensor | None = None
    past_key_values: Any | None = None


@dataclass
class ObjectiveOutput:
    """What an objective returns.

    Args:
        loss: scalar, mean over the sentences of the batch, to be minimised.
        beta: the weight of the rate at this moment.
        logs: what else is to be logged, by name.
    """

    loss: torch.Tensor
    beta: float
    logs: dict[str, float | torch.Tensor] = field(default_factory=dict)
