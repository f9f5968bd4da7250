"""The language model beside the VAE: the gap between the two on the same texts.

Shapes: N texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from textvae.data.encoding import encode_texts
from textvae.evaluation.likelihood import evaluate_bound
from textvae.evaluation.report import Evaluation, come_back
from textvae.inference.text_vae import TextVAE


def common_units(vae: TextVAE, dataset, lm: TextVAE) -> tuple[Any, bool, bool]:
    """In which units two models can be compared on the texts of a split.

    Args:
        vae: the model that is evaluated.
        dataset: the texts, with its `ids` and `text`.
        lm: a language model.

    Returns:
        The texts with the ids of the language model; whether the vocabularies are the same, so that nats compare; and
        whether both tokenizers give every text back, so that bits per byte do.

    Raises:
        ValueError: neither.
    """
    texts, theirs = dataset["text"][:], dataset
    same = vae.tokenizer.get_vocab() == lm.tokenizer.get_vocab()
    if not same:
        theirs = encode_texts(texts, lm.tokenizer)
    lossless = all(come_back(m.tokenizer, texts, d["ids"][:]) for m, d in ((vae, dataset), (lm, theirs)))
    if not same and not lossless:
        raise ValueError(
            "--against: the vocabularies differ and at least one has no way back to these texts, so neither nats nor "
            "bits per byte can be compared; train both with the same tokenizer section"
        )
    return theirs, same, lossless


def gap(
    units: tuple[Any, bool, bool],
    evaluation: Evaluation,
    dataset,
    lm: TextVAE,
    bf16: bool | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """How much better the language model predicts the texts of a split: the VAE's nats less the language model's.

    Args:
        units: of `common_units`.
        evaluation: of the VAE, text by text.
        dataset: the texts, with `ids`, `bytes` and `text`.
        lm: a language model.
        bf16: precision of matrix products; None for what suits the machine.
        progress: called with the number of texts done.

    Returns:
        lm_nll and gap_nll, gap_iw_nll in nats a text where the vocabularies are the same; gap_bits_per_byte where both
        tokenizers give every text back. Each gap with the standard error of its paired difference; below 0 the VAE is
        better.
    """
    theirs, same, lossless = units
    lm_nll = evaluate_bound(lm.model, theirs, bf16=bf16, progress=progress).nll
    bounds = {"nll": evaluation.bound.nll, "iw_nll": evaluation.iw_nll}
    found: dict[str, Any] = {"lm_nll": float(lm_nll.double().mean()) if same else None}
    for name, bound in bounds.items():
        mean, error = paired(bound, lm_nll)
        found |= {f"gap_{name}": mean if same else None, f"gap_{name}_stderr": error if same else None}
    bits, bits_error = per_byte(bounds["iw_nll"] - lm_nll, torch.tensor(dataset["bytes"][:]))
    return found | {
        "gap_bits_per_byte": bits if lossless else None,
        "gap_bits_per_byte_stderr": bits_error if lossless else None,
    }


def paired(a: Tensor, b: Tensor) -> tuple[float, float | None]:
    """Mean of a - b (N,), and the standard error of that mean; None for a single text."""
    difference = a.double() - b.double()
    return float(difference.mean()), float(difference.std() / math.sqrt(len(a))) if len(a) > 1 else None


def per_byte(nats: Tensor, size: Tensor) -> tuple[float, float | None]:
    """Nats of texts to bits per byte of them all, with the standard error of that quotient of two sums.

    Args:
        nats: (N,).
        size: (N,) bytes.

    Source: Cochran 1977, Sampling Techniques, section 2.11 (the ratio estimate; its linearised variance).
    """
    nats, size, n = nats.double(), size.double(), len(nats)
    ratio = nats.sum() / size.sum()
    residual = nats - ratio * size
    error = float((residual.square().sum() / (n - 1) * n).sqrt() / size.sum() / math.log(2)) if n > 1 else None
    return float(ratio / math.log(2)), error
