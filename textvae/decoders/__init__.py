"""Decoders: (ids, z) -> features before the softmax. How z enters lives only here."""

from textvae.decoders.pretrained import PretrainedDecoder, PretrainedState
from textvae.decoders.recurrent import RecurrentDecoder, RecurrentState
from textvae.decoders.seq2seq import Seq2SeqDecoder
from textvae.decoders.transformer import TransformerDecoder

__all__ = [
    "PretrainedDecoder",
    "PretrainedState",
    "RecurrentDecoder",
    "RecurrentState",
    "Seq2SeqDecoder",
    "TransformerDecoder",
]
