"""Evaluates a finished run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import DatasetDict
from transformers.utils import logging as transformers_logging

from textvae.data.corpus import Corpus, load_corpus
from textvae.data.encoding import encode_corpus
from textvae.evaluation.report import evaluate_split
from textvae.hardware import keep_freed_memory
from textvae.inference.text_vae import TextVAE
from textvae.recipe import Recipe, load_recipe


def load_run_recipe(folder: Path, overrides: list[str]) -> Recipe:
    """The resolved recipe of a run, with overrides.

    Raises:
        ValueError: the folder is no run.
    """
    if not (folder / "textvae.yaml").is_file():
        raise ValueError(f"{folder} is not a run: it has no textvae.yaml")
    return load_recipe(folder / "textvae.yaml", overrides)


def evaluate_run(
    folder: Path,
    split: str = "validation",
    samples: int = 500,
    overrides: list[str] | None = None,
    bf16: bool | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[dict[str, Any], TextVAE, Corpus]:
    """Evaluates a finished run on a split of its corpus, or of another one (`data.source=...`).

    Returns:
        The metrics, the model and the corpus.

    Raises:
        ValueError: no such run, split or corpus.
    """
    recipe = load_run_recipe(folder, overrides or [])
    vae = TextVAE.from_pretrained(folder)
    keep_freed_memory()
    transformers_logging.disable_progress_bar()
    corpus = load_corpus(recipe.data, recipe.label_is_optional)
    if split not in corpus.splits:
        raise ValueError(f"--split: {split!r} is not known; known: {', '.join(corpus.splits)}")
    # Evaluation never changes a text, so nothing but the split asked for has to be tokenised.
    corpus_split = Corpus(DatasetDict({split: corpus.splits[split]}))
    encoded = encode_corpus(corpus_split, vae.tokenizer, None, "truncate")[split]
    train_texts = (batch["text"] for batch in corpus.splits["train"].iter(batch_size=10_000))
    metrics = evaluate_split(vae, encoded, split, samples, train_texts=train_texts, bf16=bf16, progress=progress)
    return metrics, vae, corpus
