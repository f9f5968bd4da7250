"""Evaluates a finished run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from transformers.utils import logging as transformers_logging

from textvae.data.corpus import SPLIT_NAMES, Corpus, load_corpus, text_batches
from textvae.data.encoding import encode_corpus
from textvae.evaluation.report import evaluate_split
from textvae.hardware import keep_freed_memory
from textvae.inference.text_vae import TextVAE
from textvae.recipe import Recipe, load_recipe
from textvae.validation import suggest

logger = logging.getLogger(__name__)


def load_run_recipe(folder: Path, overrides: list[str]) -> Recipe:
    """The resolved recipe of a run, with overrides.

    Raises:
        ValueError: the folder is no run.
    """
    if not (folder / "textvae.yaml").is_file():
        raise ValueError(f"{folder} is not a run: it has no textvae.yaml")
    return load_recipe(folder / "textvae.yaml", overrides)


def evaluate_run(
    folder: str | Path,
    split: str = "validation",
    samples: int = 500,
    overrides: list[str] | None = None,
    bf16: bool | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[dict[str, Any], TextVAE, Dataset | None]:
    """Evaluates a finished run on a split of its corpus, or of another one (`data.source=...`).

    Args:
        folder: the run folder.
        split: validation or test (or train).
        samples: k of the importance-weighted bound.
        overrides: `data.key=value`, such as `data.source=OTHER`.
        bf16: precision of matrix products; None for what suits the machine.
        progress: called with a stage, texts done and texts in all.

    Returns:
        The metrics, the model, and the training texts of the run itself; None in place of these, and of the number of
        samples copied from them, where another corpus is evaluated and the run's own is gone.

    Raises:
        ValueError: no such run, split or corpus.
    """
    folder, overrides = Path(folder), overrides or []
    if split not in SPLIT_NAMES:
        raise ValueError(f"--split: {split!r} is not known; {suggest(split, list(SPLIT_NAMES))}")
    for override in overrides:
        if not override.startswith("data."):
            raise ValueError(
                f"{override}: only keys of data can be changed for an evaluation, such as data.source=OTHER"
            )
    recipe = load_run_recipe(folder, overrides)
    transformers_logging.disable_progress_bar()
    keep_freed_memory()
    vae = TextVAE.from_pretrained(folder)
    corpus = load_corpus(recipe.data)
    train = _training_texts(folder) if overrides else corpus.splits["train"]
    # Evaluation never changes a text, so nothing but the split asked for has to be tokenised.
    corpus_split = Corpus(DatasetDict({split: corpus.splits[split]}))
    encoded = encode_corpus(corpus_split, vae.tokenizer, None, "truncate", vae.encoder_tokenizer)[split]
    train_texts = train and text_batches(train)
    metrics = evaluate_split(vae, encoded, split, samples, train_texts=train_texts, bf16=bf16, progress=progress)
    return metrics, vae, train


def _training_texts(folder: Path) -> Dataset | None:
    """What the run was trained on, where it is still to be had."""
    recipe = load_run_recipe(folder, [])
    try:
        return load_corpus(recipe.data).splits["train"]
    except ValueError as error:
        logger.warning("the run's own training texts cannot be read, so copies of them are not counted: %s", error)
        return None
