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
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from pydantic import Field, field_validator
from torch import Tensor

from textvae import registry
from textvae.decoders.seen_words import SeenWords
from textvae.freezing import frozen
from textvae.modeling import TextVAEModel
from textvae.training.storage import load_weights, save_weights
from textvae.training.trainer import TextVAETrainer
from textvae.validation import Section

logger = logging.getLogger(__name__)

WEIGHTS, HISTORY = "model.safetensors", "history.json"
MOST = 1_000_000  # texts whose words are counted
PAST_DECODER = ("words", "text_without_backbone")  # what a stage predicts past the decoder's states


class Stage(Section):
    """One stage of training.

    Progress and the schedule of the learning rate run from their beginning to their end in each stage.

    Args:
        max_steps: updates.
        objective: as the section `objective`, in place of it; null for that section.
        reset: parts of the model that start anew: encoder, posterior, prior, decoder.
        learning_rate: in place of `training.learning_rate`; null for that one.
        predicts: text; words, which z alone predicts in any order; or text_without_backbone, which what is beside a
            pretrained decoder predicts on its own. Both go past the states of the decoder, which are not even computed:
            steps that take little time, after which z knows what to say. They need output in `model.decoder.inject`,
            or `model.decoder.beside`, and a stage after them that predicts the text.

    Source: Li et al. 2019, arXiv 1909.00868 (autoencoder, then a new decoder and free bits); Zhao et al. 2017, arXiv
    1703.10960 (bag-of-word loss).
    """

    max_steps: int = Field(ge=1)
    objective: dict[str, Any] | None = None
    reset: tuple[Literal["encoder", "posterior", "prior", "decoder"], ...] = ()
    learning_rate: float | None = Field(None, gt=0)
    predicts: Literal["text", "words", "text_without_backbone"] = "text"

    @field_validator("objective", mode="before")
    @classmethod
    def _known(cls, value: Any) -> dict[str, Any] | None:
        if value is None:
            return None
        return registry.resolve("objective", value, "objective", default=registry.DEFAULT_KINDS["objective"])


def check_stages(stages: list[dict[str, Any]], model: dict[str, Any]) -> None:
    """Refuses stages past the decoder where z has no way to the softmax, or that leave the decoder untrained.

    Args:
        stages: of the recipe.
        model: its section `model`, resolved.
    """
    inject = model["decoder"].get("inject", ())  # a decoder from elsewhere may lack the key
    for number, stage in enumerate(stages, 1):
        what = stage.get("predicts", "text")
        where = f"training.stages: {number}: predicts: {what}"
        if what in PAST_DECODER and number == len(stages):
            raise ValueError(f"{where} does not train the decoder; add a stage that predicts the text")
        if what == "words" and "output" not in inject:
            raise ValueError(f"{where} needs output in model.decoder.inject, which is [{', '.join(inject)}]")
        if what == "text_without_backbone" and not model["decoder"].get("beside"):
            raise ValueError(f"{where} needs model.decoder.beside, keys of a decoder beside a pretrained one")


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
