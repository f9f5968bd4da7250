"""A run from recipe to run folder: corpus, tokenizer, model, training, evaluation, model card."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from transformers import AutoTokenizer, GenerationConfig, TrainerCallback, set_seed
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging as transformers_logging

from textvae import registry
from textvae.configuration import TextVAEConfig
from textvae.data.corpus import Corpus, load_corpus
from textvae.data.encoding import encode_corpus
from textvae.evaluation.report import evaluate_split, write_json
from textvae.hardware import keep_freed_memory
from textvae.inference.text_vae import TextVAE
from textvae.modeling import TextVAEModel
from textvae.recipe import Recipe
from textvae.tokenization import batches, make_tokenizer
from textvae.training.arguments import TextVAETrainingArguments
from textvae.training.card import model_card
from textvae.training.trainer import TextVAETrainer

logger = logging.getLogger(__name__)


@dataclass
class Run:
    """What training leaves in memory.

    Args:
        folder: the run folder.
        vae: the best model.
        metrics: of the best model on validation.
        corpus: with its notices.
        splits: encoded texts.
        training_seconds: time spent in training, evaluations included.
    """

    folder: Path
    vae: TextVAE
    metrics: dict[str, Any]
    corpus: Corpus
    splits: Any
    training_seconds: float


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
    keep_freed_memory()
    corpus = load_corpus(recipe.data, recipe.label_is_optional)
    checkpoint = get_last_checkpoint(folder / "checkpoints") if resume and (folder / "checkpoints").is_dir() else None
    tokenizer = _tokenizer(recipe, corpus, folder if checkpoint else None)
    splits = encode_corpus(corpus, tokenizer, recipe.data.max_length, recipe.data.overlong)
    args = TextVAETrainingArguments(output_dir=str(folder / "checkpoints"), **recipe.training)
    if len(splits["train"]) < args.train_batch_size:
        raise ValueError(
            f"{recipe.data.source}: {len(splits['train'])} training texts are fewer than one batch of "
            f"{args.train_batch_size}: lower training.per_device_train_batch_size"
        )
    set_seed(args.seed)
    model = _model(recipe, tokenizer)
    if args.init_from and not checkpoint:
        _init_from(model, Path(args.init_from))
    if folder.exists() and not resume:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "textvae.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    tokenizer.save_pretrained(folder)
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(folder / "logs"))
    trainer = TextVAETrainer(
        model=model,
        args=args,
        objective=registry.build("objective", recipe.objective),
        train_dataset=splits["train"],
        eval_dataset=splits["validation"],
        processing_class=tokenizer,
        callbacks=callbacks,
    )
    start = time.time()
    trainer.train(resume_from_checkpoint=checkpoint)
    best = trainer.finish()
    seconds = time.time() - start
    logger.info("best checkpoint: step %d, %s", best["step"], {k: round(v, 3) for k, v in best.items() if k != "step"})
    vae = TextVAE(model, tokenizer)
    vae.save_pretrained(folder)
    train_texts = (batch["text"] for batch in splits["train"].iter(batch_size=10_000))
    metrics = evaluate_split(
        vae, splits["validation"], "validation", 20, train_texts=train_texts, bf16=args.bf16, progress=progress
    )
    write_json(folder / "metrics.json", metrics)
    (folder / "samples.txt").write_text("\n".join(vae.sample(50, seed=args.seed)) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(model_card(recipe, metrics, corpus, vae, seconds), encoding="utf-8")
    return Run(folder, vae, metrics, corpus, splits, seconds)


def check_output(folder: Path, resume: bool, overwrite: bool) -> None:
    """Refuses a run folder that would be lost or cannot be made.

    Raises:
        ValueError: what stands in the way.
    """
    if resume and overwrite:
        raise ValueError("--resume goes on with a run and --overwrite throws it away: choose one")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"output_dir: {folder} is a file")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / "textvae.yaml").is_file():
            raise ValueError(f"output_dir: {folder} is not empty and holds no run; choose another folder")
        if not (resume or overwrite):
            raise ValueError(
                f"output_dir: {folder} holds a run; choose another folder, or pass --overwrite to replace it or "
                "--resume to go on with it"
            )
    elif resume:
        raise ValueError(f"--resume: there is no run in {folder}")


def _tokenizer(recipe: Recipe, corpus: Corpus, resumed: Path | None):
    source = resumed or recipe.training.get("init_from")
    if source:
        if not (Path(source) / "tokenizer.json").is_file():
            raise ValueError(f"training.init_from: {source} is not a run: it has no tokenizer.json")
        if not resumed:
            corpus.note(f"tokenizer and first weights come from {source}")
        return AutoTokenizer.from_pretrained(source)
    return make_tokenizer(recipe.tokenizer, batches(corpus.splits["train"]["text"]))


def _model(recipe: Recipe, tokenizer) -> TextVAEModel:
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos", "unk", "mask")}
    model = TextVAEModel(TextVAEConfig(vocab_size=len(tokenizer), **recipe.model, **ids))
    # transformers refuses to save what only sampling reads with a configuration that does not sample.
    unused = set() if recipe.generation.do_sample else {"temperature", "top_k", "top_p", "min_p"}
    values = recipe.generation.model_dump(exclude_none=True, exclude=unused)
    model.generation_config = GenerationConfig(**{**model.generation_config.to_diff_dict(), **values})
    return model


def _init_from(model: TextVAEModel, run: Path) -> None:
    """Takes over weights of the same name and shape and says which parts start anew."""
    weights = run / "model.safetensors"
    if not weights.is_file():
        raise ValueError(f"training.init_from: {run} is not a finished run: it has no model.safetensors")
    own, given = model.state_dict(), load_file(weights)
    fitting = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise ValueError(f"training.init_from: no part of {run} has the shape of this model")
    model.load_state_dict(fitting, strict=False)
    fresh = sorted(set(own) - set(fitting))
    logger.info("%d of %d tensors come from %s", len(fitting), len(own), run)
    if fresh:
        logger.warning("these parts start anew: %s", ", ".join(fresh))
