"""Any text encoder of transformers. Shapes: B sentences, T tokens, H features."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from transformers import AutoModel

from textvae.encoders.pooling import Pooling, PoolingKind, sum_of_words
from textvae.encoders.recurrent import RecurrentEncoder, RecurrentEncoderConfig
from textvae.layers.dropout import embed
from textvae.layers.pretrained import PretrainedConfig, PretrainedPart
from textvae.registry import register
from textvae.validation import one_line


class PretrainedEncoderConfig(PretrainedConfig):
    """A pretrained encoder: BERT, RoBERTa, ModernBERT, MiniLM, the encoder of T5, or a causal model.

    Args:
        pooling: first (BERT's [CLS]), last, mean, max, attention or rotary.
        word_sum: put the sum of the T word vectors over sqrt(T) beside what is pooled: a short way from words to z,
            for an encoder whose states say what a text is about rather than its words.
        beside: keys of a recurrent encoder that reads the same texts in the decoder's ids, and whose summary stands
            beside what is pooled.
    """

    pooling: PoolingKind | Literal["first"] = "mean"
    word_sum: bool = False
    beside: RecurrentEncoderConfig | None = None


@register("encoder", "pretrained", PretrainedEncoderConfig)
class PretrainedEncoder(PretrainedPart, nn.Module):
    """A model of transformers and pooling over its last hidden states. It reads texts with its own tokenizer.

    Args:
        config: its configuration.
        model_config: the TextVAEConfig, where the architecture is noted.
    """

    def __init__(self, config: PretrainedEncoderConfig, model_config):
        super().__init__()
        self.config = config
        self.backbone = self.build_backbone(AutoModel, config, model_config.encoder, "model.encoder")
        try:
            size, table = self.backbone.config.get_text_config().hidden_size, self.backbone.get_input_embeddings()
            self.vocabulary_size, words = table.weight.shape
        except Exception as error:  # a model without words, or with more than one table of them
            raise ValueError(f"{self.refusal} {one_line(error, 120)}") from None
        self.pooling = Pooling(config.pooling, size)
        self.beside = RecurrentEncoder(config.beside, model_config) if config.beside else None
        self.shared_size = self.beside.shared_size if self.beside else None
        self.summary_size = size + (words if config.word_sum else 0)
        self.output_size = self.summary_size + (self.beside.output_size if self.beside else 0)

    def part_of(self, model: nn.Module) -> nn.Module:
        """Of an encoder-decoder its encoder, else the model."""
        return model.get_encoder() if model.config.is_encoder_decoder else model

    def load_weights(self, only: set[str] | None = None, **hub) -> None:
        """As for any pretrained part.

        Raises:
            ValueError: the model cannot be an encoder here.
        """
        super().load_weights(only, **hub)
        if only is None:  # else a saved model is loaded, which has passed this
            self.check_family()

    @torch.no_grad()
    def check_family(self) -> None:
        """Raises ValueError where padding has a say in what it makes of a text, or the text has none in what is pooled.

        A family may mix tokens without a mask (FNet), or read pictures; nothing that says so is common to all.
        """
        training = self.training
        self.eval()
        try:
            device = self.backbone.get_input_embeddings().weight.device
            padding = getattr(self.backbone.config.get_text_config(), "pad_token_id", None)
            known = [i for i in range(self.vocabulary_size) if i != padding][-17:]
            ids = torch.tensor(known[:16], device=device).view(2, 8)
            mask = torch.ones_like(ids)
            mask[1, 5:] = 0
            together, alone = self(ids, mask)[1:], self(ids[1:, :5], mask[1:, :5])
            first = self.pooling(self.states(ids, mask), mask)[0]
            ids[0, 7] = known[16]
            other = self.pooling(self.states(ids, mask), mask)[0]
        except Exception as error:  # whatever a family has against what the others take
            raise ValueError(f"{self.refusal} {one_line(error, 120)}") from None
        if not (together - alone).abs().max() < 1e-3 * (1 + alone.abs().max()):
            raise ValueError(f"{self.refusal} padding changes what it makes of a text")
        if torch.equal(first, other):
            raise ValueError(
                f"model.encoder.pooling: {self.config.pooling} takes a state of {self.config.name} that knows "
                "nothing of the words after it; take last, mean or attention"
            )
        self.train(training)

    @property
    def is_fixed(self) -> bool:
        """Whether nothing of the pretrained part is trained, so that its summary of a text is always the same."""
        return self.config.train == "none" and not any(p.requires_grad for p in self.pooling.parameters())

    @property
    def reads_at_most(self) -> int | None:
        """Tokens of a text that it can read, the rest being cut off; None for any number."""
        positions = getattr(self.backbone.config.get_text_config(), "max_position_embeddings", None) or 0
        if positions <= 0:  # XLNet has -1
            return None
        # RoBERTa and its kin count positions from behind that of padding.
        tables = [m for name, m in self.backbone.named_modules() if name.endswith("position_embeddings")]
        first = [m.padding_idx + 1 for m in tables if isinstance(m, nn.Embedding) and m.padding_idx is not None]
        return positions - max(first, default=0)

    def states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B,T,H), the last hidden states of the backbone."""
        return self.backbone(input_ids=ids, attention_mask=mask).last_hidden_state

    def forward(self, ids: Tensor, mask: Tensor, word_vectors: nn.Embedding | None = None) -> Tensor:
        """Summarises sentences.

        Args:
            ids: (B,T), of the encoder's own tokenizer.
            mask: (B,T), 1 for tokens and 0 for padding on the right.
            word_vectors: not read.

        Returns:
            (B, summary_size), without what is beside it.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.train != "none"):
            states = self.states(ids, mask)
            embedding = self.backbone.get_input_embeddings()
            words = embed(embedding, ids, 0.0, self.training) if self.config.word_sum else None
        pooled = self.pooling(states, mask)
        return pooled if words is None else torch.cat([pooled, sum_of_words(words, mask)], -1)
