"""Encoders: (ids, mask) -> one summary a sentence. Each names its size in `output_size`."""

from textvae.encoders.pretrained import PretrainedEncoder
from textvae.encoders.recurrent import RecurrentEncoder
from textvae.encoders.transformer import TransformerEncoder

__all__ = ["PretrainedEncoder", "RecurrentEncoder", "TransformerEncoder"]
