"""A recipe: one YAML with six sections, overridden by `section.key=value`, validated before anything runs."""

from __future__ import annotations

import dataclasses
import glob
import json
import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from textvae import registry
from textvae.configuration import LatentConfig
from textvae.data.config import DataConfig
from textvae.overrides import apply
from textvae.tokenization import TokenizerConfig
from textvae.validation import Section, one_line, parse_section, suggest

SECTIONS = ("data", "tokenizer", "model", "objective", "training", "generation")


class GenerationSection(Section):
    """How text is decoded from z by default.

    Args:
        max_new_tokens: longest text, in tokens; copies and paths between texts may be as long as these at least.
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
        training: the fields of TextVAETrainingArguments that were named.
        output_dir: the run folder.
    """

    data: DataConfig
    tokenizer: TokenizerConfig
    model: dict[str, Any]
    objective: dict[str, Any]
    training: dict[str, Any]
    generation: GenerationSection
    output_dir: Path

    def to_yaml(self, for_others: bool = False) -> str:
        """The resolved recipe, as saved with the run: without the run folder, and without secrets.

        Args:
            for_others: leave the source of the texts as it was given; else a local one gets its whole path.
        """
        sections = {
            "data": self.data.model_dump() | ({} if for_others else {"source": from_anywhere(self.data.source)}),
            "tokenizer": self.tokenizer.model_dump(),
            "model": self.model,
            "objective": self.objective,
            "training": {name: value for name, value in self.training.items() if not name.endswith("_token")},
            "generation": self.generation.model_dump(),
        }
        # By way of JSON, which turns tuples into lists.
        return yaml.safe_dump(json.loads(json.dumps(sections)), sort_keys=False, allow_unicode=True)


def from_anywhere(source: str) -> str:
    """A source of texts as it is found from every folder: a local one gets its whole path."""
    path = os.path.expanduser(source)  # leaves a name that only looks like a home, as find_files does
    if source.startswith("sample:") or os.path.isabs(path):
        return path
    if os.path.exists(path):
        return os.path.abspath(path)
    found = any(True for _ in glob.iglob(path, recursive=True))
    return os.path.join(glob.escape(os.getcwd()), path) if found else source


def load_recipe(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Reads a recipe.

    Args:
        path: YAML file, or the name of one in `configs` (of the working directory, or beside the package). With
            `base: OTHER.yaml`, a recipe in the same folder, it says only what differs from that one.
        overrides: `section.key=value` and `output_dir=DIR`, the last one winning.

    Raises:
        ValueError: one line that names the file or key, the value, and what is allowed.
    """
    path = _find(str(path))
    return make_recipe(_with_base(path), overrides or [], default_output=Path("runs") / path.stem)


def _with_base(path: Path) -> dict[str, Any]:
    """The sections of a recipe; where it names a `base` beside it, what it says on top of what the base says."""
    values = read_sections(path)
    if "base" not in values:
        return values
    name = values.pop("base")
    base = path.parent / str(name)
    if not isinstance(name, str) or not base.is_file():
        known = sorted(file.name for file in path.parent.glob("*.y*ml"))
        raise ValueError(f"{path}: base: no such recipe: {base}; {suggest(str(name), known)}")
    under = read_sections(base)
    if "base" in under:
        raise ValueError(f"{path}: base: {base} has a base itself; name the last of them")
    return _on_top(under, values)


def _on_top(under: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Mappings are joined key by key; one with another `kind` stands for itself."""
    joined = dict(under)
    for key, value in values.items():
        old = under.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        joined[key] = _on_top(old, value) if both and value.get("kind", old.get("kind")) == old.get("kind") else value
    return joined


def read_sections(path: Path) -> dict[str, Any]:
    """The sections of a YAML file as they stand there.

    Raises:
        ValueError: the file cannot be read, or holds no mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: not UTF-8 (byte 0x{error.object[error.start]:02x})") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path}{where}: broken YAML: {one_line(getattr(error, 'problem', None) or error)}") from None
    if not isinstance(values, dict):
        what = "the file is empty" if values is None else f"a {type(values).__name__} is no recipe"
        raise ValueError(f"{path}: {what}; wanted a mapping with sections {', '.join(SECTIONS)}")
    return values


def _find(path: str) -> Path:
    # Of the working directory, of a source tree, of an installed package.
    folders = [Path("configs"), Path(__file__).parents[1] / "configs", Path(__file__).parent / "configs"]
    candidates = [Path(path)] + [folder / f"{path}.yaml" for folder in folders if "/" not in path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    if "/" in path or path.endswith((".yaml", ".yml")):
        known = sorted(file.name for file in Path(path).parent.glob("*.y*ml"))
    else:
        known = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
    raise ValueError(f"no such recipe: {path}; {suggest(Path(path).name, known)}")


def make_recipe(values: dict[str, Any], overrides: list[str], default_output: Path) -> Recipe:
    """Applies overrides and validates.

    Args:
        values: sections as plain mappings.
        overrides: `section.key=value`, in order.
        default_output: run folder when none is named.

    Raises:
        ValueError: as `load_recipe`.
    """
    from textvae.training.section import training_section  # loads transformers
    from textvae.training.stage import check_stages

    values = dict(values)
    named: set[str] = set()
    for override in overrides:
        named.add(apply(values, override, named))
    output_dir = values.pop("output_dir", None)
    if not isinstance(output_dir, str | Path | None):
        raise ValueError(f"output_dir: {one_line(repr(output_dir), 80)} is not the name of a folder")
    for name, section in values.items():
        if name not in SECTIONS:
            raise ValueError(f"{one_line(name)}: unknown section; {suggest(name, [*SECTIONS, 'output_dir'])}")
        if not isinstance(section, dict | None):
            raise ValueError(f"{name}: {one_line(repr(section), 80)} is not a mapping of keys to values")
    section = {name: dict(values.get(name) or {}) for name in SECTIONS}
    model = _model(section["model"])
    objective = _part("objective", section["objective"], "objective")
    training = training_section(section["training"], named)
    stages = training.get("stages") or []
    _check_objectives(model["latent"], objective, stages)
    check_stages(stages, model)
    data = _data(section["data"], named)
    if data.augment.is_on and "name" in model["encoder"] and model["latent"]["size"]:
        raise ValueError(
            "data.augment: not with a pretrained encoder, which reads the texts as they are; leave it out, or take an "
            "encoder that reads the decoder's tokens (model.encoder.kind: recurrent or transformer)"
        )
    if data.noise.is_on and model["encoder"].get("beside"):
        raise ValueError(
            "data.noise: not with model.encoder.beside, which reads the texts as they are and tells what noise would "
            "hide; leave one of them out"
        )
    return Recipe(
        data=data,
        tokenizer=_tokenizer(section["tokenizer"], model["decoder"]),
        model=model,
        objective=objective,
        training=training,
        generation=parse_section(GenerationSection, section["generation"], "generation"),
        output_dir=Path(output_dir) if output_dir else default_output,
    )


def _data(values: dict[str, Any], named: set[str]) -> DataConfig:
    if "data.label_is_optional" not in named:
        if "data.label_column" in named:
            values["label_is_optional"] = False
        elif "data.source" in named:
            values["label_is_optional"] = True
    return parse_section(DataConfig, values, "data")


def _tokenizer(values: dict[str, Any], decoder: dict[str, Any]) -> TokenizerConfig:
    """The tokenizer's section; a pretrained decoder brings its own."""
    if "name" not in decoder:
        return parse_section(TokenizerConfig, values, "tokenizer")
    own = {"kind": "pretrained", "path": decoder["name"], "revision": decoder["revision"]}
    config = parse_section(TokenizerConfig, own | values, "tokenizer")
    if config.kind != "pretrained":
        raise ValueError(f"tokenizer.kind: {config.kind} does not go with a pretrained decoder, which has its own")
    if config.path != decoder["name"]:
        raise ValueError(f"tokenizer.path: {config.path!r} is not that of the pretrained decoder, {decoder['name']!r}")
    return config


def _model(values: dict[str, Any]) -> dict[str, Any]:
    known = ["encoder", "latent", "decoder"]
    for name in values:
        if name not in known:
            raise ValueError(f"model.{one_line(name)}: unknown key; {suggest(name, known)}")
    part = {name: {} if values.get(name) is None else values[name] for name in known}
    return {
        "encoder": _part("encoder", part["encoder"], "model.encoder"),
        "latent": parse_section(LatentConfig, part["latent"], "model.latent").model_dump(),
        "decoder": _part("decoder", part["decoder"], "model.decoder"),
    }


def _check_objectives(latent: dict[str, Any], objective: dict[str, Any], stages: list[dict[str, Any]]) -> None:
    """Refuses what an objective, the recipe's or a stage's, has against the posterior or the prior."""
    from textvae.objectives.base import UNTRAINED

    if not latent["size"]:
        return
    parts = [registry.part(family, latent[family]["kind"]) for family in ("posterior", "prior")]
    named = {f"training.stages: {n}": stage.get("objective") or objective for n, stage in enumerate(stages, 1)}
    named = named or {"objective": objective}
    reasons = {
        where: registry.part("objective", values["kind"]).refusal(values, *parts) for where, values in named.items()
    }
    trains = None in reasons.values()  # then a stage may leave a learned prior alone
    for where, reason in reasons.items():
        if reason and not (trains and reason == UNTRAINED):
            values = named[where]
            kinds = " and ".join(f"{latent[family]['kind']} {family}" for family in ("posterior", "prior"))
            raise ValueError(f"{where}: {values['kind']} does not go with {kinds}: {reason}")


def _part(family: str, values: Any, where: str) -> dict[str, Any]:
    return registry.resolve(family, values, where, default=registry.DEFAULT_KINDS[family])
