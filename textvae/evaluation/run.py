"""Evaluates a finished run."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from datasets import Dataset, DatasetDict
from torch import Tensor
from transformers.utils import logging as transformers_logging

from textvae.data.corpus import SPLIT_NAMES, Corpus, fingerprint, load_corpus, text_batches
from textvae.data.encoding import encode_corpus, training_texts
from textvae.evaluation.comparison import common_units, gap
from textvae.evaluation.language_model import perplexities
from textvae.evaluation.paths import interpolation_quality
from textvae.evaluation.probes import MOST_TEXTS, check_labels, probe_labels
from textvae.evaluation.refine import refined_metrics
from textvae.evaluation.report import defined, evaluate_split, tokenizer_for_bleu
from textvae.evaluation.similarity import mauve
from textvae.evaluation.text import is_chinese
from textvae.inference.text_vae import TextVAE
from textvae.latent.fitted import FittedPrior
from textvae.recipe import Recipe, make_recipe, read_sections
from textvae.validation import one_line, suggest

logger = logging.getLogger(__name__)

CHANGED = "the run's own training texts have changed, so copies of them are not noticed"
SPLITS = "splits.json"  # of a run folder: the fingerprints of the texts that it was trained and validated on


@dataclass(frozen=True)
class Extras:
    """Measurements that are made when asked for; each adds keys to the metrics.

    Args:
        curve: the importance-weighted bound at fewer samples.
        against: run folder of a language model to compare with, on the same texts.
        perplexities: forward and reverse perplexity of samples.
        lm_steps: updates of each of the two language models that these take.
        paths: pairs of texts whose interpolations are measured; 0 for none.
        probes: accuracy of labels read off the posterior means.
        mauve: sentence encoder by which samples are held against texts.
        refine: gradient steps for each text: how much more comes back, and the bound with refined posteriors.
    """

    curve: bool = False
    against: str | Path | None = None
    perplexities: bool = False
    lm_steps: int = 2000
    paths: int = 0
    probes: bool = False
    mauve: str | None = None
    refine: int = 0


NONE = Extras()


def load_run_recipe(folder: Path, overrides: list[str]) -> Recipe:
    """The resolved recipe of a run, with overrides, but for how it was trained: another machine may not be able to.

    Raises:
        ValueError: the folder is no run.
    """
    if not (folder / "textvae.yaml").is_file():
        raise ValueError(f"{folder} is not a run: it has no textvae.yaml")
    sections = read_sections(folder / "textvae.yaml")
    # Which objectives the stages have decides whether posterior, prior and the section `objective` go together.
    training = sections.get("training") or {}
    if not isinstance(training, dict):
        raise ValueError(f"{folder / 'textvae.yaml'}: training: {one_line(repr(training), 80)} is not a mapping")
    stages = training.get("stages")
    return make_recipe({**sections, "training": {"stages": stages} if stages else {}}, overrides, folder)


def load_data_recipe(folder: Path, overrides: list[str] | None) -> Recipe:
    """The same for a run that is looked at with other texts, or with its own from another place.

    Raises:
        ValueError: the folder is no run, or a key is not one of data.
    """
    for override in overrides or []:
        if not override.startswith("data."):
            raise ValueError(f"{override}: only keys of data can be changed here, such as data.source=OTHER")
    return load_run_recipe(folder, overrides or [])


def run_sections(folder: Path) -> dict[str, Any]:
    """The sections of a run's recipe as plain mappings; keys that came after the run was begun have their default.

    `training` is as it was noted, since another machine may not be able to train so.

    Raises:
        ValueError: the folder is no run.
    """
    sections = yaml.safe_load(load_run_recipe(folder, []).to_yaml())
    return sections | {"training": read_sections(folder / "textvae.yaml").get("training") or {}}


def evaluate_run(
    folder: str | Path,
    split: str = "validation",
    samples: int = 500,
    overrides: list[str] | None = None,
    bf16: bool | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    extras: Extras = NONE,
    prior: Literal["model", "fitted"] = "model",
) -> tuple[dict[str, Any], TextVAE, Dataset | None]:
    """Evaluates a finished run on a split of its corpus, or of another one (`data.source=...`).

    Args:
        folder: the run folder.
        split: validation or test (or train).
        samples: k of the importance-weighted bound, at least 1.
        overrides: `data.key=value`, such as `data.source=OTHER`.
        bf16: precision of matrix products; None for what suits the machine.
        progress: called with a stage, texts done and texts in all.
        extras: what to measure beyond the usual numbers.
        prior: p(z) of all numbers: the model's own, or the one that was fitted after training (`fit_run_prior`).

    Returns:
        The metrics, the model, and the training texts of the run itself; None in place of these, and of the number of
        samples copied from them, where another corpus is evaluated and the run's own is gone.

    Raises:
        ValueError: no such run, split or corpus, or nothing was fitted.
        ImportError: the fitted prior needs a package that is not installed.
    """
    folder, overrides = Path(folder), overrides or []
    if split not in SPLIT_NAMES:
        raise ValueError(f"--split: {split!r} is not known; {suggest(split, list(SPLIT_NAMES))}")
    if samples < 1:
        raise ValueError(f"--samples: {samples} is not allowed; at least 1")
    recipe = load_data_recipe(folder, overrides)
    transformers_logging.disable_progress_bar()
    vae = TextVAE.from_pretrained(folder)
    fitted = vae.wanted_prior(prior)
    corpus = load_corpus(recipe.data)
    train = check_split(folder, corpus.splits, split, overrides)
    # Before the long part, so that a mistake is told at once.
    lm = _language_model(extras.against, folder, train) if extras.against else None
    _check(extras, vae, train, corpus.splits, split)
    # Evaluation never changes a text, so nothing but the split asked for has to be tokenised.
    corpus_split = Corpus(DatasetDict({split: corpus.splits[split]}))
    encoded = encode_corpus(corpus_split, vae.tokenizer, None, "truncate", vae.encoder_tokenizer)[split]
    train_texts = train and text_batches(train)
    texts = encoded["text"][:]
    units = common_units(vae, encoded, lm) if lm else None
    with under(vae.model, fitted):
        # First of all, since a missing package or encoder shows only here.
        similarity = extras.mauve and mauve(
            texts, lambda: vae.sample(len(texts), seed=0, allow_unknown=True), extras.mauve
        )
        evaluation = evaluate_split(
            vae, encoded, split, samples, train_texts=train_texts, bf16=bf16, progress=progress, curve=extras.curve
        )
        metrics = evaluation.metrics
        if lm:
            metrics |= {"against": str(extras.against), **gap(units, evaluation, encoded, lm, bf16)}
        if extras.perplexities:
            found, own = perplexities(vae, train["text"][:], encoded, extras.lm_steps, bf16=bf16, progress=progress)
            metrics |= found
            lm = lm or own
        if extras.paths:
            tokenize = tokenizer_for_bleu(vae, is_chinese(texts[:100]))
            metrics |= interpolation_quality(vae, texts, extras.paths, tokenize, lm, bf16=bf16)
        if extras.probes:
            trained_on = training_texts(corpus, vae.tokenizer, recipe.data.max_length, recipe.data.overlong)
            metrics |= _probes(vae, evaluation.bound.mu, trained_on, corpus.splits[split])
        if extras.mauve:
            metrics |= {"mauve": similarity, "mauve_features": extras.mauve}
        if extras.refine:
            metrics |= refined_metrics(vae, encoded, evaluation.bound.mu, extras.refine, samples, bf16, progress)
    return defined(metrics), vae, train


@contextlib.contextmanager
def under(model, fitted: FittedPrior | None) -> Iterator[None]:
    """In which the fitted prior, if any, stands in place of the model's own."""
    own = model.prior if fitted else None
    try:
        if fitted:
            model.prior = fitted
        yield
    finally:
        if fitted:
            model.prior = own


def _check(extras: Extras, vae: TextVAE, train: Dataset | None, splits: DatasetDict, split: str) -> None:
    latent = {"--paths": extras.paths, "--probes": extras.probes, "--refine": extras.refine}
    asked = [name for name, value in latent.items() if value]
    if asked and not vae.latent_size:
        raise ValueError(
            f"{asked[0]}: this run is a plain language model (model.latent.size is 0), without latent vectors"
        )
    posterior = vae.model.config.latent["posterior"]["kind"]
    if extras.against and vae.latent_size and not vae.model.posterior.has_density:
        raise ValueError(f"--against: a {posterior} posterior has no density, so there is no bound to compare")
    if extras.probes:
        if split == "train":
            raise ValueError("--probes: they learn from the training texts, so measure them on validation or test")
        if "label" not in splits["train"].column_names:
            raise ValueError("--probes: the corpus has no labels; name their column in data.label_column=COLUMN")
        check_labels(*([x for x in part["label"][:] if x is not None] for part in (splits["train"], splits[split])))
    if extras.refine and posterior != "gaussian":
        logger.warning("--refine: copies only, no bound, since %s posteriors are not refined", posterior)
    if extras.paths and not (extras.against or extras.perplexities):
        logger.warning("--paths: the nll of the paths takes a language model: --against LM_RUN, or --perplexities")
    if extras.curve and not (vae.latent_size and vae.model.posterior.has_density):
        what = f"a {posterior} posterior has no density" if vae.latent_size else "a plain language model has no bound"
        raise ValueError(f"--curve: {what}, so there is no curve")
    if extras.paths and len(splits[split]) < 2:
        raise ValueError(f"--paths: a path joins 2 texts; {split} has 1")
    if extras.perplexities and train is None:
        raise ValueError("--perplexities: the run's own training texts are gone, and with them what to compare with")


def _language_model(folder: str | Path, run: Path, train: Dataset | None) -> TextVAE:
    """The language model of a run that was trained on the same texts as another run."""
    theirs, ours = (fingerprints_of(Path(place)).get("train") for place in (folder, run))
    if theirs is None:
        theirs = fingerprint(load_corpus(load_run_recipe(Path(folder), []).data).splits["train"])
    if ours is None and train is None:
        raise ValueError("--against: the run's own training texts are gone, so nobody knows whether they are the same")
    if theirs != (ours or fingerprint(train)):
        raise ValueError(
            f"--against: {folder} was trained on other texts (data.source and the keys of data that make its splits), "
            "so the gap would compare corpora and not models"
        )
    lm = TextVAE.from_pretrained(folder)
    if lm.latent_size:
        raise ValueError(
            f"--against: {folder} has {lm.latent_size} latent dimensions; wanted a plain language model, trained with "
            "model.latent.size=0"
        )
    return lm


def _probes(vae: TextVAE, mu: Tensor, train: Dataset, split: Dataset) -> dict[str, Any]:
    """Probes of the labels that are there; mu (N,D) belongs to the texts of the split."""
    labels = np.array(train["label"][:], dtype=object)
    known = np.flatnonzero(labels != None)  # noqa: E711, elementwise
    if len(known) > MOST_TEXTS:
        known = np.sort(np.random.default_rng(0).choice(known, MOST_TEXTS, replace=False))
    rows = [row for row, label in enumerate(split["label"][:]) if label is not None]
    train_mu = vae.encode(train.select(known)["text"][:])
    return probe_labels(train_mu, labels[known].tolist(), mu[rows], split.select(rows)["label"][:])


def fingerprints_of(folder: Path) -> dict[str, str]:
    """Of the splits that a run was trained and validated on; empty where they were not noted."""
    file = folder / SPLITS
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def check_split(folder: Path, splits: DatasetDict, split: str, overrides: list[str]) -> Dataset | None:
    """Warns where a split that is to be measured holds texts that the run was trained on.

    Args:
        folder: of the run.
        splits: as they are now.
        split: to be measured.
        overrides: keys of data that are not the run's.

    Returns:
        What the run was trained on, where it is still to be had.
    """
    known = fingerprints_of(folder)
    train_is_known = not known or known["train"] == fingerprint(splits["train"])
    if not overrides:
        if known and known.get(split) != fingerprint(splits[split]):
            logger.warning(
                "%s: not the texts of when the run was trained: its corpus has changed since, and where splits are cut "
                "from it some of them may have been trained on",
                split,
            )
        if not train_is_known:
            logger.warning(CHANGED)
        return splits["train"] if train_is_known else None
    if known and train_is_known:  # its own corpus, which has moved
        return splits["train"]
    try:
        train = load_corpus(load_run_recipe(folder, []).data).splits["train"]
    except ValueError as error:
        logger.warning("the run's own training texts cannot be read, so copies of them are not noticed: %s", error)
        return None
    if known and known.get("train") != fingerprint(train):
        logger.warning(CHANGED)
        return None
    wanted, seen = set(splits[split]["text"][:]), set()
    for texts in text_batches(train):
        seen.update(wanted.intersection(texts))
    if seen and split != "train":
        logger.warning("%s: %d of its texts stand in what the run was trained on", split, len(seen))
    return train
