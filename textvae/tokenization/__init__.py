"""Trains or loads a tokenizer; whatever its kind, it is a fast one that puts bos and eos around a text."""

from textvae.tokenization.special import SPECIAL
from textvae.tokenization.tokenizer import (
    TokenizerConfig,
    decode,
    load_tokenizer,
    make_tokenizer,
    wrap,
)

__all__ = ["SPECIAL", "TokenizerConfig", "decode", "load_tokenizer", "make_tokenizer", "wrap"]
