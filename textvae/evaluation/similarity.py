"""MAUVE: how alike the distributions of samples and of texts are, in the eyes of a sentence encoder.

Shapes: N texts, B texts of a batch, T tokens, H features.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from textvae import weights
from textvae.validation import one_line

BATCH = 64


def mauve(texts: list[str], samples: Callable[[], list[str]], encoder: str, seed: int = 0) -> float:
    """MAUVE of samples against texts.

    Args:
        texts: best a thousand or more.
        samples: gives about as many; called once the encoder is known to be there.
        encoder: a transformers model with a tokenizer: a name on the Hub, a folder, or `package:NAME`.
        seed: of the clustering.

    Returns:
        0-1; 1 where the two cannot be told apart.

    Raises:
        ValueError: the encoder cannot be loaded.
        ImportError: mauve-text is not installed.

    Source: Pillutla et al. 2021, arXiv 2102.01454; features of a sentence encoder in place of GPT-2's.
    """
    try:
        from mauve import compute_mauve
    except ImportError:
        raise ImportError("--mauve needs mauve-text, which is GPL-3: pip install mauve-text") from None
    p = sentence_features(texts, encoder).numpy()
    q = sentence_features(samples(), encoder).numpy()
    return float(compute_mauve(p_features=p, q_features=q, seed=seed, verbose=False).mauve)


@torch.no_grad()
def sentence_features(texts: list[str], encoder: str) -> Tensor:
    """Mean of the last hidden states over the tokens of each text, (N,H).

    Raises:
        ValueError: the encoder cannot be loaded.
    """
    from transformers import AutoModel, AutoTokenizer

    place = weights.locate(encoder, None, "--mauve")
    try:
        tokenizer = AutoTokenizer.from_pretrained(**place, trust_remote_code=False)
        model = AutoModel.from_pretrained(**place, trust_remote_code=False).eval()
    except Exception as error:  # whatever a missing or broken model raises, in one line
        raise ValueError(f"--mauve: cannot load {encoder}: {one_line(error, 200)}") from None
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    if tokenizer.pad_token is None:  # GPT-2's; what stands there is masked
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    parts = []
    for start in range(0, len(texts), BATCH):
        batch = tokenizer(texts[start : start + BATCH], padding=True, truncation=True, return_tensors="pt")
        ids, mask = batch["input_ids"], batch["attention_mask"]
        states = model(input_ids=ids, attention_mask=mask).last_hidden_state * mask[..., None]  # (B,T,H)
        parts.append(states.sum(1) / mask.sum(1, keepdim=True).clamp_min(1))  # a sample may be empty
    return torch.cat(parts)
