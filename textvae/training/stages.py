"""Training in stages: each a training of its own, which begins with the weights that the one before it leaves."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor

from textvae.decoders.seen_words import SeenWords
from textvae.freezing import frozen
from textvae.modeling import TextVAEModel
from textvae.training.stage import PAST_DECODER
from textvae.training.storage import load_weights, save_weights
from textvae.training.trainer import TextVAETrainer

logger = logging.getLogger(__name__)

WEIGHTS, HISTORY = "model.safetensors", "history.json"
MOST = 1_000_000  # texts whose words are counted


def word_counts(train: Dataset, vocab_size: int) -> Tensor:
    """(V,) how often the corpus has each word, end of text counted.

    Args:
        train: rows with `ids`, of which the first MOST are looked at.
        vocab_size: V.
    """
    counts = torch.zeros(vocab_size)
    some = train.select_columns("ids").select(range(min(MOST, len(train))))
    for batch in some.with_format("arrow").iter(10_000):
        words = np.concatenate([ids[1:] for ids in batch["ids"].to_numpy()])
        counts += torch.bincount(torch.from_numpy(words), minlength=vocab_size)
    return counts


@contextlib.contextmanager
def predicting(what: str, model: TextVAEModel, train: Dataset) -> Iterator[None]:
    """In which a model's distortion is that of what a stage predicts; a backbone that is passed over is not trained."""
    if what not in PAST_DECODER:
        yield
        return
    passed_over = []
    # A pretrained softmax may have more rows than the tokenizer has words.
    counts = word_counts(train, len(model.decoder.softmax_weight))
    if what == "words":
        model.log_frequencies = ((counts + 1) / (counts + 1).sum()).log()
    else:
        model.decoder.alone = SeenWords(counts)
        passed_over = model.decoder.backbone.parameters()
    try:
        with frozen(passed_over):
            yield
    finally:
        model.log_frequencies = None
        if what != "words":
            model.decoder.alone = None


def reset(model: TextVAEModel, fresh: TextVAEModel, parts: tuple[str, ...]) -> None:
    """Gives parts of a model the weights of a new one.

    Word vectors of the decoder that the encoder reads as well stay, unless the encoder is reset too: without them it
    would have forgotten all.

    Args:
        model: it is changed.
        fresh: of the same configuration.
        parts: encoder, posterior, prior or decoder; a plain language model has but the last.
    """
    shared = model.config.latent_size and getattr(model.encoder, "shared_size", None) is not None
    for part in [part for part in parts if part in dict(model.named_children())]:
        weights = fresh.get_submodule(part).state_dict()
        if part == "decoder" and shared and "encoder" not in parts:
            table = model.decoder.shared_embedding
            kept = {id(weight) for weight in chain(table.parameters(), table.buffers())}
            decoder = model.decoder  # in which a tied table has several names
            ours = decoder.named_parameters(remove_duplicate=False), decoder.named_buffers(remove_duplicate=False)
            names = {name for name, weight in chain(*ours) if id(weight) in kept}
            weights = {name: value for name, value in weights.items() if name not in names}
        model.get_submodule(part).load_state_dict(weights, strict=False)
        logger.info("the %s starts anew", part)


def write_stage(folder: Path, trainer: TextVAETrainer) -> None:
    """Keeps what an ended stage hands on, its last weights and its history, and nothing else."""
    trainer.keep_last()
    (folder / HISTORY).write_text(json.dumps(trainer.state.log_history))
    draft = folder / f"{WEIGHTS}.part"
    save_weights(trainer.model, draft)
    os.replace(draft, folder / WEIGHTS)  # whole or not there: it tells that the stage has ended
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)


def read_stage(folder: Path, model: TextVAEModel) -> list[dict[str, Any]]:
    """Gives a model the weights of an ended stage and returns that stage's history."""
    load_weights(model, folder / WEIGHTS)
    return json.loads((folder / HISTORY).read_text())
