"""Writes docs/keys.md, every key of a recipe with its default and what it means: python scripts/list_keys.py.

All of it comes from the configuration classes and their docstrings.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
import typing
from pathlib import Path
from typing import Any

from textvae import registry
from textvae.configuration import LatentConfig
from textvae.data.config import AugmentConfig, DataConfig, NoiseConfig
from textvae.decoders.pretrained import BesideConfig
from textvae.objectives.schedules import BetaConfig
from textvae.recipe import GenerationSection
from textvae.tokenization import TokenizerConfig
from textvae.training.arguments import NO_EFFECT, TextVAETrainingArguments
from textvae.training.stage import Stage

HEAD = """# Every key of a recipe

Written by `python scripts/list_keys.py` from the code. Each can be set in the YAML or on the command line
(`textvae train RECIPE model.latent.size=64`); what is not said has the default. `kind` chooses a part, and the keys of
that part stand beside it. Outside of the sections stand `output_dir`, the run folder (`runs/RECIPE`), and `base`,
another recipe on which this one stands.
"""
FAMILIES = {
    "model.encoder": "encoder",
    "model.latent.posterior": "posterior",
    "model.latent.prior": "prior",
    "model.decoder": "decoder",
    "objective": "objective",
}


def meanings(cls: type) -> dict[str, str]:
    """What the docstrings of a class and of those above it say of each argument."""
    found: dict[str, str] = {}
    for above in reversed(cls.__mro__):
        lines, inside, name = inspect.cleandoc(above.__dict__.get("__doc__") or "").splitlines(), False, None
        for line in lines:
            if line == "Args:":
                inside = True
            elif inside and (start := re.match(r" {4}(\w+(?:, \w+)*): (.*)", line)):
                name = start[1].split(", ")
                found |= dict.fromkeys(name, start[2])
            elif inside and name and line.startswith(" " * 8):
                found |= {key: f"{found[key]} {line.strip()}" for key in name}
            elif line.strip():
                inside, name = False, None
    return found


def choices(hint: Any) -> list[str]:
    """The words that a type allows."""
    if typing.get_origin(hint) is typing.Literal:
        return [str(word) for word in typing.get_args(hint)]
    return list(dict.fromkeys(word for part in typing.get_args(hint) for word in choices(part)))


def table(cls: type, leave_out: tuple[str, ...] = ()) -> list[str]:
    """A row for each key of a configuration class."""
    said, rows = meanings(cls), []
    for name, field in cls.model_fields.items():
        if name not in leave_out:
            default = "required" if field.is_required() else f"`{json.dumps(_plain(field.get_default()))}`"
            rows.append(_row(name, default, said[name], choices(field.annotation)))
    return ["", "| key | default | what |", "|---|---|---|", *rows] if rows else ["", "No keys."]


def _plain(value: Any) -> Any:
    return value.model_dump() if hasattr(value, "model_dump") else value


def _row(name: str, default: str, what: str, words: list[str]) -> str:
    unsaid = [word for word in words if not re.search(rf"\b{re.escape(word)}\b", what)]
    what = f"{what} One of {', '.join(words)}." if unsaid else what
    what = re.sub(r"\|", r"\\|", what)
    return f"| `{name}` | {default} | {what} |"


def training() -> list[str]:
    """The arguments that transformers does not have, and those whose default is another."""
    said, rows, others = meanings(TextVAETrainingArguments), [], []
    usual = {field.name: field.default for field in dataclasses.fields(TextVAETrainingArguments.__mro__[1])}
    for field in dataclasses.fields(TextVAETrainingArguments):
        if field.name not in usual:
            rows.append(_row(field.name, f"`{json.dumps(field.default)}`", said[field.name], []))
        elif field.name in TextVAETrainingArguments.__annotations__ and field.name not in NO_EFFECT:
            others.append(f"`{field.name}: {json.dumps(field.default)}`")
    mention = (
        "And transformers' TrainingArguments, but for `output_dir`, which stands at the top of a recipe, and "
        f"`parallelism_config`. Their defaults, but for {', '.join(sorted(others))}. `eval_steps`, `save_steps`, "
        "`logging_steps` and `warmup_steps` below 1 are shares of the training. Of no effect here: "
        f"{', '.join(f'`{name}`' for name in NO_EFFECT)}."
    )
    return ["", "| key | default | what |", "|---|---|---|", *rows, "", mention]


def page() -> str:
    """The whole of docs/keys.md."""
    lines = [HEAD, "## data", *table(DataConfig, ("augment", "noise"))]
    for name, cls in (("data.augment", AugmentConfig), ("data.noise", NoiseConfig), ("tokenizer", TokenizerConfig)):
        lines += ["", f"## {name}", *table(cls)]
    lines += ["", "## model.latent", *table(LatentConfig)]
    for section, family in FAMILIES.items():
        for kind in registry.kinds(family):
            cls = registry.config_class(family, kind)
            if cls.__module__.startswith("textvae."):
                usual = " (default)" if registry.DEFAULT_KINDS[family] == kind else ""
                lines += ["", f"## {section}, kind: {kind}{usual}", *table(cls)]
    lines += ["", "## objective.beta, as a mapping", *table(BetaConfig)]
    lines += ["", "## model.decoder.beside", *table(BesideConfig)]
    lines += ["", "## training", *training(), "", "## training.stages, each", *table(Stage)]
    lines += ["", "## generation", *table(GenerationSection)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/keys.md"))
    parser.parse_args().output.write_text(page(), encoding="utf-8")
