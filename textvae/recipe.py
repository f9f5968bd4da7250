"""A recipe: one YAML with six sections, overridden by `section.key=value`, validated before anything runs."""

from __future__ import annotations

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any

import pydantic
import yaml
from pydantic import Field

from textvae import registry
from textvae.configuration import LatentConfig
from textvae.data.config import DataConfig
from textvae.tokenization import TokenizerConfig
from textvae.validation import Section, parse_section, suggest

SECTIONS = ("data", "tokenizer", "model", "objective", "training", "generation")


class GenerationSection(Section):
    """How text is decoded from z by default.

    Args:
        max_new_tokens: longest text, in tokens.
        do_sample: sample, rather than take the likeliest token.
        temperature: of sampling.
        top_k: sample among the k likeliest tokens; 0 for all.
        top_p: sample among the likeliest tokens that hold this share of the probability.
        min_p: sample among tokens at least this likely, relative to the likeliest.
        num_beams: beams of beam search.
        repetition_penalty: 1 for none.
        no_repeat_ngram_size: n-grams of this size occur once at most; 0 for no limit.
    """

    max_new_tokens: int = Field(40, ge=1)
    do_sample: bool = True
    temperature: float = Field(1.0, gt=0)
    top_k: int = Field(0, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)
    min_p: float | None = Field(None, ge=0, le=1)
    num_beams: int = Field(1, ge=1)
    repetition_penalty: float = Field(1.0, gt=0)
    no_repeat_ngram_size: int = Field(0, ge=0)


@dataclasses.dataclass
class Recipe:
    """Everything a run is made of, resolved and validated.

    Args:
        data, tokenizer, generation: their sections.
        model: encoder, latent and decoder as plain mappings with all defaults.
        objective: as a plain mapping with all defaults.
        training: fields of TextVAETrainingArguments that differ from its defaults.
        output_dir: the run folder.
        label_is_optional: the label column was named for another corpus.
    """

    data: DataConfig
    tokenizer: TokenizerConfig
    model: dict[str, Any]
    objective: dict[str, Any]
    training: dict[str, Any]
    generation: GenerationSection
    output_dir: Path
    label_is_optional: bool = False

    def to_yaml(self) -> str:
        """The resolved recipe, as saved with the run."""
        sections = {
            "data": self.data.model_dump(),
            "tokenizer": self.tokenizer.model_dump(),
            "model": self.model,
            "objective": self.objective,
            "training": self.training,
            "generation": self.generation.model_dump(),
        }
        return yaml.safe_dump(_plain(sections), sort_keys=False, allow_unicode=True)


def load_recipe(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Reads a recipe.

    Args:
        path: YAML file, or the name of a recipe in `configs`.
        overrides: `section.key=value` and `output_dir=DIR`, the last one winning.

    Raises:
        ValueError: one line that names the file or key, the value, and what is allowed.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"no such recipe: {path}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8") from None
    except (IsADirectoryError, PermissionError) as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path}{where}: broken YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: a recipe is a mapping with the sections {', '.join(SECTIONS)}")
    return make_recipe(values, overrides or [], default_output=Path("runs") / path.stem)


def make_recipe(values: dict[str, Any], overrides: list[str], default_output: Path) -> Recipe:
    """Applies overrides and validates.

    Args:
        values: sections as plain mappings.
        overrides: `section.key=value`, in order.
        default_output: run folder when none is named.

    Raises:
        ValueError: as `load_recipe`.
    """
    values = {name: dict(section) if isinstance(section, dict) else section for name, section in values.items()}
    named = set()
    for override in overrides:
        named.add(_apply(values, override))
    output_dir = values.pop("output_dir", None)
    for name in values:
        if name not in SECTIONS:
            raise ValueError(f"{name}: unknown section; {suggest(name, [*SECTIONS, 'output_dir'])}")
    for name, section in values.items():
        if section is not None and not isinstance(section, dict):
            raise ValueError(f"{name}: {section!r} is not a mapping of keys to values")
    section = {name: values.get(name) or {} for name in SECTIONS}
    return Recipe(
        data=parse_section(DataConfig, section["data"], "data"),
        tokenizer=parse_section(TokenizerConfig, section["tokenizer"], "tokenizer"),
        model=_model(section["model"]),
        objective=registry.resolve("objective", section["objective"], "objective", default="elbo"),
        training=_training(section["training"]),
        generation=parse_section(GenerationSection, section["generation"], "generation"),
        output_dir=Path(output_dir) if output_dir else default_output,
        label_is_optional="data.source" in named and "data.label_column" not in named,
    )


def _apply(values: dict[str, Any], override: str) -> str:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ValueError(f"{override!r}: an override reads section.key=value, for instance training.max_steps=500")
    try:
        value = yaml.safe_load(text) if text else None
    except yaml.YAMLError:
        value = text
    if isinstance(value, str) or key in ("data.source", "output_dir", "tokenizer.path"):
        value = text
    *path, last = key.split(".")
    place = values
    for depth, part in enumerate(path):
        inner = place.get(part)
        if inner is None:
            inner = {}
        if not isinstance(inner, dict):
            # A short form, such as `beta: 0.5` or `posterior: gaussian`, gives way to keys of its own.
            inner = {"kind": inner} if isinstance(inner, str) else {}
        place[part] = inner = dict(inner)
        place = inner
        del depth
    place[last] = value
    return key


def _model(values: dict[str, Any]) -> dict[str, Any]:
    known = ["encoder", "latent", "decoder"]
    for name in values:
        if name not in known:
            raise ValueError(f"model.{name}: unknown key; {suggest(name, known)}")
    return {
        "encoder": registry.resolve("encoder", values.get("encoder") or {}, "model.encoder", default="recurrent"),
        "latent": parse_section(LatentConfig, values.get("latent") or {}, "model.latent").model_dump(),
        "decoder": registry.resolve("decoder", values.get("decoder") or {}, "model.decoder", default="recurrent"),
    }


def _training(values: dict[str, Any]) -> dict[str, Any]:
    """Coerces and checks the fields of TextVAETrainingArguments by their annotations."""
    from textvae.training.arguments import TextVAETrainingArguments

    hints = typing.get_type_hints(TextVAETrainingArguments)
    fields = {f.name: hints[f.name] for f in dataclasses.fields(TextVAETrainingArguments) if f.init}
    fields.pop("output_dir")
    checked = {}
    for name, value in values.items():
        key = f"training.{name}"
        if name not in fields:
            raise ValueError(f"{key}: unknown key; {_nearest(name, list(fields))}")
        try:
            checked[name] = pydantic.TypeAdapter(_loose(fields[name])).validate_python(value)
        except pydantic.ValidationError as error:
            message = error.errors()[-1]["msg"]
            raise ValueError(f"{key}: {value!r} is not allowed; {message[0].lower()}{message[1:]}") from None
    positive = ("max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate")
    for name in positive:
        if name in checked and not checked[name] > 0 and not (name == "max_steps" and "num_train_epochs" in checked):
            raise ValueError(f"training.{name}: {checked[name]!r} is not allowed; it must be greater than 0")
    try:
        TextVAETrainingArguments(output_dir="runs", **checked)
    except (ValueError, TypeError, ImportError) as error:
        raise ValueError(
            f"training: {' '.join(str(error).split())}".replace("training: training", "training")
        ) from None
    return checked


def _nearest(name: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
    return f"{hint}any field of transformers.TrainingArguments is allowed"


def _loose(annotation: Any) -> Any:
    """An annotation without what pydantic cannot check: enums become strings."""
    import enum

    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return str
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.Union[tuple(_loose(part) for part in typing.get_args(annotation))]  # noqa: UP007
    return annotation


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value
