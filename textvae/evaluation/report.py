"""Every number of a run on a split, as docs/metrics.md defines them."""

from __future__ import annotations

import json
import logging
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from textvae.data.batches import length_sorted_batches
from textvae.data.encoding import text_lengths, unknown_share
from textvae.evaluation.latent import active_units, latent_information
from textvae.evaluation.likelihood import Bound, evaluate_bound, importance_weighted_nll
from textvae.evaluation.text import bleu, distinct, is_chinese, self_bleu, token_accuracy
from textvae.inference.decoding import decode_rows
from textvae.inference.text_vae import BATCH, TextVAE
from textvae.latent.fitted import FittedPrior
from textvae.tokenization import decode
from textvae.writing import whole_file

logger = logging.getLogger(__name__)

KEYS = (
    "split",
    "prior",
    "sentences",
    "tokens",
    "nll",
    "distortion",
    "rate",
    "elbo",
    "ppl",
    "bits_per_byte",
    "iw_nll",
    "iw_samples",
    "iw_nll_stderr",
    "iw_ppl",
    "mutual_information",
    "mutual_information_cap",
    "mutual_information_sentences",
    "marginal_kl",
    "active_units",
    "mu_variance_per_dimension",
    "rate_per_dimension",
    "latent_size",
    "reconstruction_bleu",
    "token_accuracy",
    "exact_match",
    "self_bleu",
    "distinct_1",
    "distinct_2",
    "copied_from_train",
    "unk_rate",
    "seconds",
    "prior_samples",
    "bleu_signature",
)
# Numbers of samples at which the curve of the importance-weighted bound is drawn.
CURVE = (1, 10, 50, 100, 500)


@dataclass
class Evaluation:
    """What evaluating a split leaves: the numbers, and what others derive theirs from.

    Args:
        metrics: a flat mapping with the keys of KEYS, lists where a number has a value a dimension; what is undefined
            for this model is None.
        bound: of each text.
        iw_nll: (N,) nats, importance-weighted.
    """

    metrics: dict[str, Any]
    bound: Bound
    iw_nll: torch.Tensor


def evaluate_split(
    vae: TextVAE,
    dataset,
    split: str,
    samples: int = 500,
    prior_samples: int = 1000,
    train_texts=None,
    seed: int = 0,
    bf16: bool | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    curve: bool = False,
) -> Evaluation:
    """Evaluates a model.

    Args:
        vae: the model.
        dataset: rows with `ids`, `length`, `bytes` and `text`, whole texts.
        split: its name, for the record.
        samples: k of the importance-weighted bound.
        prior_samples: texts drawn from the prior.
        train_texts: batches of training texts, to count samples that were copied; None leaves that number out.
        seed: of all that is random.
        bf16: precision of matrix products; None for what suits the machine.
        progress: called with a stage, texts done and texts in all.
        curve: add the importance-weighted bound at fewer samples, as iw_nll_k1, iw_nll_k10, ...
    """
    start = time.time()
    model, n, latent = vae.model, len(dataset), vae.latent_size

    bound = evaluate_bound(model, dataset, seed=seed, bf16=bf16, progress=counter(progress, "bound", n))
    tokens, total_bytes = int(text_lengths(dataset).sum()), sum(dataset["bytes"])
    texts, ids = dataset["text"][:], dataset["ids"][:]
    lossless = come_back(vae.tokenizer, texts, ids)
    metrics: dict[str, Any] = dict.fromkeys(KEYS)
    metrics |= {
        "split": split,
        "sentences": n,
        "tokens": tokens,
        "distortion": _mean(bound.distortion),
        "latent_size": latent,
        "unk_rate": unknown_share(ids, model.config.unk_token_id),
    }
    iw = None
    if bound.nll is not None:
        counts = [k for k in CURVE if k < samples] if curve and latent else []
        stage = counter(progress, f"iw_nll, {samples} samples", n)
        *fewer, iw = importance_weighted_nll(model, dataset, [*counts, samples], seed + 1, bf16, stage)
        nll, iw_nll = _mean(bound.nll), _mean(iw)
        if curve and latent:
            values = zip([*counts, samples], [*fewer, iw], strict=True)
            metrics |= {f"iw_nll_k{k}": _mean(value) for k, value in values}
        metrics |= {
            "nll": nll,
            "elbo": -nll,
            "ppl": _exp(nll * n / tokens),
            "bits_per_byte": nll * n / math.log(2) / total_bytes if lossless else None,
            "iw_nll": iw_nll,
            "iw_samples": samples if latent else None,
            "iw_nll_stderr": float(iw.double().std() / math.sqrt(n)) if n > 1 else None,
            "iw_ppl": _exp(iw_nll * n / tokens),
        }
    chinese = is_chinese(texts[:100])
    if latent:
        metrics["prior"] = name_of_prior(model)
        metrics["active_units"] = active_units(bound.mu, model.posterior.support)
        metrics["mu_variance_per_dimension"] = bound.mu.double().var(0).tolist() if n > 1 else None
        if bound.rate_per_dimension is not None:
            metrics["rate_per_dimension"] = bound.rate_per_dimension.tolist()
        if bound.rate is not None:
            metrics |= {"rate": _mean(bound.rate), **latent_information(bound, seed)}
        metrics |= reconstruction(vae, bound.mu, dataset, chinese, counter(progress, "reconstruction", n))
    metrics |= _prior_samples(vae, prior_samples, chinese, seed, train_texts)
    metrics["seconds"] = round(time.time() - start, 2)
    return Evaluation(defined(metrics), bound, iw)


def name_of_prior(model) -> str:
    fitted = isinstance(model.prior, FittedPrior)
    config = model.prior.config if fitted else model.config.latent["prior"]
    components = f" of {config['components']}" if "components" in config else ""
    return f"{'fitted ' if fitted else ''}{config['kind']}{components}"


def come_back(tokenizer, texts: list[str], ids: list[list[int]]) -> bool:
    """Whether every text comes back from its ids exactly, without which bits per byte mean nothing."""
    return [text.strip() for text in texts] == decode(tokenizer, ids)


def tokenizer_for_bleu(vae: TextVAE, chinese: bool) -> str:
    """sacrebleu's tokenizer: zh for Chinese, none where texts are words between spaces already, else 13a."""
    if chinese:
        return "zh"
    definition = json.loads(vae.tokenizer.backend_tokenizer.to_str())
    # A tokenizer of characters is of the same type, and differs in what comes before.
    before = (definition["pre_tokenizer"] or {}).get("type")
    return "none" if definition["model"]["type"] == "WordLevel" and before != "FixedLength" else "13a"


def counter(progress: Callable[[str, int, int], None] | None, stage: str, total: int) -> Callable[[int], None]:
    """What adds up the texts that are done with, and tells how many of how many that makes in a stage."""
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(stage, done, total)

    return add


def reconstruction(
    vae: TextVAE, z: torch.Tensor, dataset, chinese: bool, advance: Callable[[int], None]
) -> dict[str, Any]:
    """How much of the texts of a split comes back, greedily, from their latent vectors z (N,D)."""
    texts, ids = dataset["text"][:], dataset["ids"][:]
    hypotheses: list[list[int]] = [[]] * len(texts)
    eos = vae.tokenizer.eos_token_id
    greedy = {"do_sample": False, "num_beams": 1, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0}
    for index in length_sorted_batches([len(row) for row in ids]):
        for start in range(0, len(index), BATCH):
            rows = index[start : start + BATCH].tolist()
            longest = max(len(ids[row]) for row in rows) + 5
            config = vae.generation_config(max_new_tokens=longest, allow_unknown=True, **greedy)
            out = vae.model.generate(
                z=z[rows].to(vae.model.device), generation_config=config, custom_generate=decode_rows
            )
            for row, generated in zip(rows, out.tolist(), strict=True):
                # What fills a row behind the end of its text may be the same id.
                end = generated.index(eos, 1) + 1 if eos in generated[1:] else None
                hypotheses[row] = generated[1:end]
            advance(len(rows))
    copies = decode(vae.tokenizer, hypotheses)
    score, signature = bleu(copies, texts, tokenizer_for_bleu(vae, chinese))
    return {
        "reconstruction_bleu": score,
        "bleu_signature": signature,
        "token_accuracy": token_accuracy([row[1:] for row in ids], hypotheses),
        "exact_match": sum(a == b.strip() for a, b in zip(copies, texts, strict=True)) / len(texts),
    }


def _prior_samples(vae: TextVAE, count: int, chinese: bool, seed: int, train_texts) -> dict[str, Any]:
    if not count:
        return {}
    samples = vae.sample(count, seed=seed)
    copied = None
    if train_texts is not None:
        wanted, seen = set(samples), set()
        for batch in train_texts:
            seen.update(wanted.intersection(text.strip() for text in batch))
        copied = sum(sample in seen for sample in samples)
    return {
        "prior_samples": count,
        "self_bleu": self_bleu(samples, chinese),
        "distinct_1": distinct(samples, chinese, 1),
        "distinct_2": distinct(samples, chinese, 2),
        "copied_from_train": copied,
    }


def _mean(values: torch.Tensor) -> float:
    return float(values.double().mean())


def _exp(x: float) -> float | None:
    return math.exp(x) if x < 700 else None


def defined(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics with null for what is not finite, which JSON cannot hold; says which."""
    found = {}
    for key, value in metrics.items():
        values = value if isinstance(value, list) else [value]
        finite = all(math.isfinite(x) for x in values if isinstance(x, float))
        if not finite:
            logger.warning("%s: not finite, so it is left out", key)
        found[key] = value if finite else None
    return found


def in_words(value: Any) -> str:
    """A number of a metrics file as tables show it; of one with a value a dimension the least, greatest and mean."""
    if isinstance(value, list):
        return f"{min(value):.4f} to {max(value):.4f}, mean {statistics.fmean(value):.4f}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def write_json(path: Path, metrics: dict[str, Any]) -> None:
    """Writes a metrics file: one flat JSON object, numbers as they are."""
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8")
