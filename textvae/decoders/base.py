"""What every decoder written here shares: its vocabulary, word dropout and the softmax layer.

Shapes: N sentences (samples times sentences), T tokens, D latent dimensions, E features, V vocabulary.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from textvae.layers.cross_entropy import bent, token_nll
from textvae.layers.dropout import WordDropout
from textvae.layers.word_vectors import AnchoredEmbedding
from textvae.validation import Section


class DecoderConfig(Section):
    """Keys that every decoder has.

    Args:
        word_dropout: probability of hiding an input word in training (Bowman et al. 2016, section 3.1).
        word_dropout_with: what stands in its place: unk or mask.
    """

    word_dropout: float = Field(0.0, ge=0, le=1)
    word_dropout_with: Literal["unk", "mask"] = "unk"


class Decoder(nn.Module):
    """p(x|z), token by token. A subclass turns input ids and z into features; the softmax is here.

    Contract of a subclass: `forward(ids (N,T), z (N,D), state) -> DecoderOutput`, `new_state()`, `embedding`,
    `softmax_weight (V,E)` and `softmax_bias (V,)` or None; `output (N,D) -> (N,E)` where z enters before the softmax;
    `softcap` bounds the logits of pretrained models that do so.

    Args:
        config: its configuration.
        model_config: the TextVAEConfig (vocabulary, special ids, latent size).
    """

    softcap: float | None = None
    max_tokens: int | None = None  # of a text that can be read; None for any number

    def __init__(self, config: DecoderConfig, model_config):
        super().__init__()
        self.config = config
        self.latent_size = model_config.latent_size
        self.drop_words = WordDropout(config.word_dropout, config.word_dropout_with, model_config, "model.decoder")

    @property
    def shared_embedding(self) -> nn.Embedding:
        """The word vectors that an encoder can share."""
        return self.embedding

    def logits(self, features: Tensor) -> Tensor:
        """(N,T,E) -> (N,T,V), float32."""
        bias = None if self.softmax_bias is None else self.softmax_bias.to(features.dtype)
        return bent(F.linear(features, self.softmax_weight.to(features.dtype), bias).float(), self.softcap)

    def word_logits(self, z: Tensor) -> Tensor:
        """What z says of each word before anything is read, up to how often each occurs: (N,D) -> (N,V), float32."""
        return F.linear(self.output(z), self.softmax_weight).float()

    def nll(self, features: Tensor, targets: Tensor) -> Tensor:
        """-log p of each target in nats: features (n,E), targets (n,) -> (n,)."""
        return token_nll(features, self.softmax_weight, self.softmax_bias, targets, self.softcap)


class VocabularyDecoderConfig(DecoderConfig):
    """Keys of every decoder that has word vectors of its own.

    Args:
        tie_embeddings: the softmax layer uses the word vectors.
        anchor_embeddings: weight decay draws word vectors to the random ones they were at first instead of to zero, so
            that rare words can still be told apart: for high rates, and autoencoders.
        dropout: dropout on activations.
        embedding_dropout: probability of dropping a word type.
    """

    tie_embeddings: bool = True
    anchor_embeddings: bool = False
    dropout: float = Field(0.0, ge=0, lt=1)
    embedding_dropout: float = Field(0.0, ge=0, lt=1)


class VocabularyDecoder(Decoder):
    """A decoder with word vectors and a softmax layer of its own.

    Args:
        config: its configuration.
        model_config: the TextVAEConfig.
        embedding_size: size of the word vectors.
        feature_size: E; equal to embedding_size where embeddings are tied.
    """

    def __init__(self, config: VocabularyDecoderConfig, model_config, embedding_size: int, feature_size: int):
        super().__init__(config, model_config)
        table = AnchoredEmbedding if config.anchor_embeddings else nn.Embedding
        self.embedding = table(model_config.vocab_size, embedding_size)
        if not config.tie_embeddings:
            self.softmax = nn.Linear(feature_size, model_config.vocab_size, bias=False)
        self.softmax_bias = nn.Parameter(torch.zeros(model_config.vocab_size))

    @property
    def softmax_weight(self) -> Tensor:
        """(V,E)."""
        return self.embedding.weight if self.config.tie_embeddings else self.softmax.weight
