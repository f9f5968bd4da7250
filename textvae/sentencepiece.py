"""SentencePiece models as fast tokenizers, with the very ids that the sentencepiece package gives."""

from __future__ import annotations

import io
from collections.abc import Iterable

SPECIAL = {"pad": "<pad>", "bos": "<bos>", "eos": "<eos>", "unk": "<unk>", "mask": "<mask>"}


def train_sentencepiece(texts: Iterable[str], vocab_size: int, model_type: str) -> bytes:
    """Trains a model, with byte fallback and with line ends and runs of spaces kept.

    Args:
        texts: the training split.
        vocab_size: pieces, special ones counted.
        model_type: unigram or bpe.

    Returns:
        The bytes of a `.model` file.

    Raises:
        ValueError: the corpus is too small for the vocabulary.
    """
    import sentencepiece as spm

    model = io.BytesIO()
    try:
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            vocab_size=vocab_size,
            model_type=model_type,
            byte_fallback=True,
            character_coverage=0.9995,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            user_defined_symbols=["\n"],
            pad_id=0,
            bos_id=1,
            eos_id=2,
            unk_id=3,
            pad_piece=SPECIAL["pad"],
            bos_piece=SPECIAL["bos"],
            eos_piece=SPECIAL["eos"],
            unk_piece=SPECIAL["unk"],
            control_symbols=[SPECIAL["mask"]],
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise ValueError(f"tokenizer: sentencepiece cannot train: {' '.join(str(error).split())}") from None
    return model.getvalue()
