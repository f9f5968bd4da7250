"""The section `training` of a recipe: the fields of TextVAETrainingArguments, checked before anything runs."""

from __future__ import annotations

import dataclasses
import enum
import functools
import typing
from typing import Annotated, Any, Literal

import pydantic
import torch
from pydantic import Field
from transformers import TrainingArguments, get_scheduler
from transformers.integrations import get_reporting_integration_callbacks

from textvae.training.arguments import TextVAETrainingArguments
from textvae.training.stage import Stage
from textvae.validation import Section, one_line, parse_section

BUDGETS = ("max_steps", "num_train_epochs")
POSITIVE, NOT_NEGATIVE, SHARE = Field(gt=0), Field(ge=0), Field(ge=0, lt=1)
SEED = Field(ge=0, lt=2**32)  # what numpy takes
# transformers.TrainingArguments takes any number; these are the ranges that make sense.
RANGES = {
    "learning_rate": POSITIVE,
    "pretrained_learning_rate": POSITIVE,
    "pretrained_weight_decay": NOT_NEGATIVE,
    "final_word_dropout": SHARE,
    "per_device_train_batch_size": POSITIVE,
    "per_device_eval_batch_size": POSITIVE,
    "tokens_per_batch": POSITIVE,
    "gradient_accumulation_steps": POSITIVE,
    "num_train_epochs": POSITIVE,
    "logging_steps": POSITIVE,
    "eval_steps": POSITIVE,
    "save_steps": POSITIVE,
    "save_total_limit": POSITIVE,
    "adam_epsilon": POSITIVE,
    "weight_decay": NOT_NEGATIVE,
    "warmup_steps": NOT_NEGATIVE,
    "max_grad_norm": NOT_NEGATIVE,
    "eval_delay": NOT_NEGATIVE,
    "seed": SEED,
    "data_seed": SEED,
    "dataloader_num_workers": NOT_NEGATIVE,
    "early_stopping_patience": NOT_NEGATIVE,
    "log_reconstructions": NOT_NEGATIVE,
    "adam_beta1": SHARE,
    "adam_beta2": SHARE,
    "ema_decay": SHARE,
}


def training_section(values: dict[str, Any], named: set[str]) -> dict[str, Any]:
    """The fields of TextVAETrainingArguments that are named, coerced and checked.

    Args:
        values: the section as it stands in a recipe.
        named: keys that were set by an override.

    Raises:
        ValueError: one line that names the key, the value, and what is allowed.
    """
    values = {name: value for name, value in values.items() if value is not None or name not in BUDGETS}
    if (
        values.get("stages") and "training.stages" in named and "training" not in named
    ):  # then they take the place of the recipe's own budget
        values = {name: value for name, value in values.items() if name not in BUDGETS or f"training.{name}" in named}
    budget = next((name for name in BUDGETS if name in values), None)
    if values.get("stages") and budget:
        raise ValueError(
            f"training.{budget}: no effect beside training.stages, which have steps of their own; give one of them"
        )
    values = _one_budget(values, named)
    checked = parse_section(_fields(), values, "training").model_dump(mode="json", exclude_unset=True)
    steps, epochs = checked.get("max_steps"), checked.get("num_train_epochs")
    if steps is not None and steps < 1 and not (steps == -1 and epochs):
        raise ValueError(f"training.max_steps: {steps} is not allowed; input should be greater than 0")
    try:
        args = TextVAETrainingArguments(output_dir="runs", **checked)
        _try_schedule(args)
        for callback in get_reporting_integration_callbacks(args.report_to):
            callback()  # which fails where its package is not installed
    except Exception as error:  # Whatever transformers, accelerate or a backend has against a combination.
        raise ValueError(f"training: {one_line(error).removeprefix('training: ')}") from None
    return checked


def _try_schedule(args: TextVAETrainingArguments) -> None:
    """Makes the schedule of the learning rate once: some want arguments of their own, and refuse others."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=args.learning_rate)
    steps = max(1, args.max_steps)
    get_scheduler(
        args.lr_scheduler_type,
        optimizer,
        num_warmup_steps=args.get_warmup_steps(steps),
        num_training_steps=steps,
        scheduler_specific_kwargs=dict(args.lr_scheduler_kwargs or {}),
    )


def _one_budget(values: dict[str, Any], named: set[str]) -> dict[str, Any]:
    """max_steps (which has a default) beats num_train_epochs in transformers; here the one that was named counts."""
    given = [name for name in BUDGETS if name in values]
    given = [name for name in given if f"training.{name}" in named] or given
    if given == ["num_train_epochs"]:
        return {**values, "max_steps": -1}
    if given == ["max_steps"] and values["max_steps"] != -1:
        return {name: value for name, value in values.items() if name != "num_train_epochs"}
    if len(given) == 2 and values["max_steps"] != -1:
        raise ValueError(
            f"training.num_train_epochs: no effect beside max_steps {values['max_steps']}; give one of them"
        )
    return values


@functools.cache
def _fields() -> type[Section]:
    """TextVAETrainingArguments as a section, so that its fields are checked as all others are."""
    hints = {**typing.get_type_hints(TextVAETrainingArguments), **_choices(TrainingArguments)}
    hints["stages"] = Annotated[list[Stage], Field(min_length=1)] | None
    # The folder is `output_dir` at the top, and parallelism is an object that YAML cannot hold.
    names = [f.name for f in dataclasses.fields(TextVAETrainingArguments) if f.init]
    fields = {}
    for name in (name for name in names if name not in ("output_dir", "parallelism_config")):
        hint = Annotated[hints[name], RANGES[name]] if name in RANGES else hints[name]
        fields[name] = (hint, Field(None, validate_default=False))
    return pydantic.create_model("TrainingSection", __base__=Section, **fields)


def _choices(cls: type) -> dict[str, Any]:
    """The fields that are one of a list of words. YAML reads the word no as false."""
    choices = {}
    for name, hint in typing.get_type_hints(cls).items():
        for kind in typing.get_args(hint):
            if isinstance(kind, type) and issubclass(kind, enum.Enum):
                words = Literal[tuple(word.value for word in kind)]
                choices[name] = Annotated[
                    words, pydantic.BeforeValidator(lambda value: "no" if value is False else value)
                ]
    return choices
