"""How good interpolations are, over many pairs of texts.

Shapes: P pairs, S steps, D latent dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from textvae.data.encoding import encode_texts
from textvae.evaluation.likelihood import evaluate_bound
from textvae.evaluation.text import bleu, is_chinese, split_units
from textvae.inference.geometry import path
from textvae.inference.text_vae import TextVAE

STEPS = 7


def interpolation_quality(
    vae: TextVAE,
    texts: list[str],
    pairs: int,
    tokenize: str,
    lm: TextVAE | None = None,
    seed: int = 0,
    bf16: bool | None = None,
) -> dict[str, Any]:
    """Measures the paths that `interpolate` walks, between random pairs of different texts.

    Args:
        vae: the model.
        texts: of a split.
        pairs: P.
        tokenize: sacrebleu's tokenizer.
        lm: a language model for the nll of the texts on the way; None leaves that number out.
        seed: of the pairs.
        bf16: precision of matrix products of the language model; None for what suits the machine.

    Returns:
        path_pairs, path_steps; path_distinct, path_step_edits, path_ends_exact, path_ends_bleu, path_lm_nll as
        docs/metrics.md defines them.

    Raises:
        ValueError: fewer than two texts.
    """
    if len(texts) < 2:
        raise ValueError(f"--paths: a path joins 2 texts; this split has {len(texts)}")
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(len(texts), (pairs,), generator=generator)
    second = (first + torch.randint(1, len(texts), (pairs,), generator=generator)) % len(texts)
    ends = [texts[row] for pair in zip(first.tolist(), second.tolist(), strict=True) for row in pair]
    mu = vae.encode(ends).view(pairs, 2, -1)
    points = torch.cat([path(a, b, STEPS, on_sphere=vae.on_sphere) for a, b in mu])
    greedy = {"do_sample": False, "num_beams": 1, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0}
    greedy["max_new_tokens"] = vae.room_for(ends)
    decoded = vae.decode(points, allow_unknown=True, **greedy)
    paths = [decoded[start : start + STEPS] for start in range(0, len(decoded), STEPS)]
    chinese = is_chinese(texts[:100])
    edits = [
        edit_distance(split_units(a, chinese), split_units(b, chinese)) for steps in paths for a, b in pairwise(steps)
    ]
    arrived = [text for steps in paths for text in (steps[0], steps[-1])]
    nll = None
    if lm:
        nll = float(evaluate_bound(lm.model, encode_texts(decoded, lm.tokenizer), bf16=bf16).nll.double().mean())
    return {
        "path_pairs": pairs,
        "path_steps": STEPS,
        "path_distinct": sum(len(set(steps)) for steps in paths) / len(decoded),
        "path_step_edits": sum(edits) / len(edits),
        "path_ends_exact": sum(a == b.strip() for a, b in zip(arrived, ends, strict=True)) / len(ends),
        "path_ends_bleu": bleu(arrived, ends, tokenize)[0],
        "path_lm_nll": nll,
    }


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Insertions, deletions and replacements of units that turn a into b.

    Source: Wagner & Fischer 1974.
    """
    row = list(range(len(b) + 1))
    for i, unit in enumerate(a, 1):
        above, row = row, [i]
        for j, other in enumerate(b, 1):
            row.append(min(row[j - 1] + 1, above[j] + 1, above[j - 1] + (unit != other)))
    return row[-1]
