"""A run from recipe to run folder: corpus, tokenizer, model, training, evaluation, model card."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from torch.random import fork_rng
from transformers import TrainerCallback, set_seed
from transformers.utils import logging as transformers_logging

from textvae import registry
from textvae.data.corpus import Corpus, fingerprint, load_corpus, text_batches
from textvae.data.encoding import encode_corpus, unknown_share
from textvae.evaluation.advice import KNOW_WORDS, MOST_UNKNOWN
from textvae.evaluation.doctor import examine
from textvae.evaluation.report import evaluate_split, write_json
from textvae.evaluation.text import set_apart
from textvae.hardware import set_up_process
from textvae.inference.text_vae import CARD, TextVAE
from textvae.latent.fitted import FITTED
from textvae.modeling import TextVAEModel
from textvae.objectives import Objective
from textvae.recipe import Recipe
from textvae.training.arguments import NO_EFFECT, TextVAETrainingArguments
from textvae.training.building import (
    build_encoder_tokenizer,
    build_model,
    build_tokenizer,
    check_positions,
    init_from,
    load_pretrained,
)
from textvae.training.card import model_card
from textvae.training.features import with_summaries
from textvae.training.folder import (
    CHECKPOINTS,
    LOGS,
    ForgetReplaced,
    as_begun,
    begun,
    check_output,
    check_resumed,
    check_texts,
    last_checkpoint,
    make_folder,
    pinned,
    save,
    undo,
    with_fingerprints,
)
from textvae.training.page import report_page
from textvae.training.stage import PAST_DECODER, Stage
from textvae.training.stages import WEIGHTS, predicting, read_stage, reset, write_stage
from textvae.training.trainer import TextVAETrainer

logger = logging.getLogger(__name__)


@dataclass
class Run:
    """What training leaves in memory.

    Args:
        folder: the run folder.
        vae: the best model.
        metrics: of the best model on validation.
        diagnosis: what the doctor says of it; None for a plain language model or a single validation text.
        corpus: with its notices.
        splits: encoded texts.
        training_seconds: time spent in training, evaluations included.
    """

    folder: Path
    vae: TextVAE
    metrics: dict[str, Any]
    diagnosis: dict[str, Any] | None
    corpus: Corpus
    splits: DatasetDict
    training_seconds: float

    @property
    def name(self) -> str:
        """The folder's own."""
        return self.folder.resolve().name


def train(
    recipe: Recipe,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: list[TrainerCallback] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Run:
    """Trains as a recipe says and fills its run folder.

    Nothing is written before the corpus, the tokenizer and the model are known to be good.

    Args:
        recipe: what to do.
        resume: go on from the last checkpoint of the run folder.
        overwrite: throw an existing run away.
        callbacks: of transformers.
        progress: called with a stage, texts done and texts in all, in the last evaluation.

    Raises:
        ValueError: one line that says what is wrong and what to do.
    """
    folder = recipe.output_dir
    check_output(folder, resume, overwrite)
    transformers_logging.disable_progress_bar()
    set_up_process()
    goes_on = resume and begun(folder)
    recipe = pinned(as_begun(recipe, folder) if goes_on else recipe)
    if goes_on:
        check_resumed(recipe, folder)
    args = TextVAETrainingArguments(output_dir=str(folder / CHECKPOINTS), **recipe.training)
    corpus = load_corpus(recipe.data)
    _check_size(recipe, corpus.splits["train"], args)
    fingerprints = {name: fingerprint(split) for name, split in corpus.splits.items()}
    if goes_on:
        check_texts(folder, fingerprints)
    tokenizer = build_tokenizer(recipe, corpus, folder if goes_on else None)
    encoder_tokenizer = build_encoder_tokenizer(recipe)
    precision = "bfloat16" if args.bf16 else "float16" if args.fp16 else "float32"
    logger.info("training on %s, matrix products in %s (training.bf16)", args.device, precision)
    set_seed(args.seed)
    model = build_model(recipe, tokenizer, encoder_tokenizer)
    load_pretrained(model)  # of a resumed run as well: a checkpoint may lack what is not trained
    recipe = with_fingerprints(recipe, model.config)
    if args.init_from:  # of a resumed run as well: what a fixed encoder makes of the texts is computed before loading
        init_from(model, Path(args.init_from))
    if args.activation_checkpointing:
        model.activation_checkpointing_enable()  # the trainer does it again, with its options; here it may be refused
    if encoder_tokenizer is not None and (most := model.encoder.reads_at_most):
        encoder_tokenizer.model_max_length = min(encoder_tokenizer.model_max_length, most)
    splits = encode_corpus(corpus, tokenizer, recipe.data.max_length, recipe.data.overlong, encoder_tokenizer)
    _check_size(recipe, splits["train"], args)  # again, since overlong texts may have been dropped
    check_positions(model, splits)
    unknown = unknown_share(splits["validation"]["ids"][:], tokenizer.unk_token_id)
    if unknown > MOST_UNKNOWN:
        corpus.note(f"validation: {unknown:.0%} of the tokens are the unknown word; {KNOW_WORDS}")
    if not recipe.data.noise.is_on:
        splits = with_summaries(splits, model, args.device, args.bf16)
    for name, why in NO_EFFECT.items():
        if name in recipe.training:
            logger.warning("training.%s: no effect; %s", name, why)
    stages = [Stage(**stage) for stage in args.stages or []] or [None]
    if not model.config.latent_size:  # nothing that could predict words, and no decoder that has learnt to do without z
        stages = [stage for stage in stages if stage is None or stage.predicts != "words"]
        stages = [stage and stage.model_copy(update={"reset": ()}) for stage in stages]
    with fork_rng(devices=[]):  # all of them before the first is trained, which this must not change
        for number, stage in enumerate(stages, 1):
            stage_args, objective = _setting(recipe, stage, number, folder, model)
            stage_args.check(model, objective)
    make_folder(recipe, tokenizer, fingerprints, keep=resume)
    trainer, history = None, []
    try:
        for number, stage in enumerate(stages, 1):
            last = number == len(stages)
            place = folder / CHECKPOINTS if last else folder / CHECKPOINTS / f"stage-{number}"
            if not last and (place / WEIGHTS).is_file():
                history += _shifted(read_stage(place, model), history, number)
                continue
            checkpoint = last_checkpoint(place) if resume else None
            # Before a checkpoint is read as well: what the stage begins with may be held on to.
            if number > 1 or (stage and stage.reset):
                _begin_stage(recipe, stage, number, model, tokenizer, encoder_tokenizer)
            # The only way to tell transformers where TensorBoard's files go.
            os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder / LOGS / ("" if last else place.name))
            with predicting(stage.predicts if stage else "text", model, splits["train"]):
                stage_args, objective = _setting(recipe, stage, number, place, model)
                trainer = TextVAETrainer(
                    model,
                    stage_args,
                    objective,
                    splits["train"],
                    splits["validation"],
                    tokenizer,
                    [*(callbacks or []), ForgetReplaced(folder)],
                    recipe.data,
                    encoder_tokenizer,
                    f"training.stages: {number}: objective" if stage and stage.objective else "objective",
                )
                trainer.train(resume_from_checkpoint=checkpoint)
            if not last:
                write_stage(place, trainer)
                history += _shifted(trainer.state.log_history, history, number)
    except BaseException:
        # Something that transformers refuses only now, or an interruption: a folder without a single step is no run.
        if not resume and not history and not (trainer and trainer.state.global_step):
            undo(folder)
        raise
    best = trainer.finish()
    logger.info("best checkpoint: step %d, %s", best["step"], {k: round(v, 3) for k, v in best.items() if k != "step"})
    save(_whole(model, tokenizer, encoder_tokenizer, folder), folder)
    vae = _whole(model, tokenizer, encoder_tokenizer, folder)  # again, since an older prior may be gone
    # Copies are counted in the texts as they came, as `textvae evaluate` does.
    train_texts, validation = text_batches(corpus.splits["train"]), splits["validation"]
    metrics = evaluate_split(
        vae, validation, "validation", 20, train_texts=train_texts, bf16=args.bf16, progress=progress
    ).metrics
    can_be_examined = vae.latent_size and len(validation) > 1
    diagnosis = examine(vae, validation, recipe, args.bf16) if can_be_examined else None
    rows = trainer.state.log_history
    history = history + _shifted(rows, history, len(stages)) if history else rows
    run = Run(folder, vae, metrics, diagnosis, corpus, splits, history[-1]["seconds"])
    _write_up(run, recipe, history, args)
    return run


def _whole(model: TextVAEModel, tokenizer, encoder_tokenizer, folder: Path) -> TextVAE:
    """The model with its tokenizers, and with the prior that was fitted to it, if there is one in the folder."""
    fitted = folder / FITTED
    return TextVAE(model, tokenizer, None, encoder_tokenizer, fitted if fitted.is_file() else None)


def _setting(
    recipe: Recipe, stage: Stage | None, number: int, place: Path, model: TextVAEModel
) -> tuple[TextVAETrainingArguments, Objective]:
    """Of a stage, or of the whole training, which is stage number 1; each has seeds of its own."""
    training = {name: value for name, value in recipe.training.items() if name != "stages"}
    values = recipe.objective
    if stage:
        values = stage.objective or values
        training["max_steps"] = stage.max_steps
        training |= {"learning_rate": stage.learning_rate} if stage.learning_rate else {}
        training |= {"log_reconstructions": 0} if stage.predicts in PAST_DECODER else {}
        training["seed"] = _seed(recipe, number)
        if training.get("data_seed") is not None:
            training["data_seed"] += number - 1
    args = TextVAETrainingArguments(output_dir=str(place), **training)
    return args, registry.build("objective", values, model.config.latent_size)


def _seed(recipe: Recipe, number: int) -> int:
    """Of a stage."""
    return recipe.training.get("seed", TextVAETrainingArguments.seed) + number - 1


def _begin_stage(recipe: Recipe, stage: Stage, number: int, model: TextVAEModel, tokenizer, encoder_tokenizer) -> None:
    """Seeds a stage, so that it is the same whether the one before has just ended or ended in another process."""
    set_seed(_seed(recipe, number))
    if stage.reset:
        fresh = build_model(recipe, tokenizer, encoder_tokenizer)
        load_pretrained(fresh)
        reset(model, fresh, stage.reset)


def _shifted(rows: list[dict[str, Any]], before: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """A stage's history with steps and seconds counted from the start of the first stage."""
    step, seconds = (before[-1]["step"], before[-1]["seconds"]) if before else (0, 0.0)
    return [row | {"step": row["step"] + step, "seconds": row["seconds"] + seconds, "stage": number} for row in rows]


def _write_up(run: Run, recipe: Recipe, history: list[dict[str, Any]], args: TextVAETrainingArguments) -> None:
    """The history of training, doctor.json, samples.txt, README.md and report.html in the run folder, and metrics.json.

    That is the last, since a run that has it is a finished one.
    """
    folder, vae, validation = run.folder, run.vae, run.splits["validation"]
    if run.diagnosis:
        write_json(folder / "doctor.json", run.diagnosis)
    (folder / LOGS).mkdir(exist_ok=True)
    with (folder / LOGS / "history.jsonl").open("w", encoding="utf-8") as file:
        for row in history:
            broken = {key: None for key, value in row.items() if isinstance(value, float) and not math.isfinite(value)}
            file.write(json.dumps(row | broken, allow_nan=False) + "\n")
    samples = vae.sample(50, seed=args.seed)
    (folder / "samples.txt").write_text(set_apart(samples) + "\n", encoding="utf-8")
    vae.card = model_card(recipe, run.metrics, run.corpus, vae, run.training_seconds)
    (folder / CARD).write_text(vae.card, encoding="utf-8")
    copies, path = [], None
    if vae.latent_size:
        texts = validation["text"][:8]
        copies = list(zip(texts, vae.reconstruct(texts), strict=True))
        path = (texts[0], texts[-1], vae.interpolate(texts[0], texts[-1]))
    page = report_page(run.name, run.metrics, history, samples[:20], copies, path)
    (folder / "report.html").write_text(page, encoding="utf-8")
    write_json(folder / "metrics.json", run.metrics)


def _check_size(recipe: Recipe, train: Dataset, args: TextVAETrainingArguments) -> None:
    if len(train) < args.train_batch_size and not args.tokens_per_batch:
        raise ValueError(
            f"{recipe.data.source}: {len(train)} training texts are fewer than one batch of {args.train_batch_size}: "
            "lower training.per_device_train_batch_size"
        )
