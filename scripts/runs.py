"""Runs that scripts train one after another: each is left alone once it is finished, and resumed if it was cut off."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

if TYPE_CHECKING:
    from textvae.recipe import Recipe


def refuse(message: str) -> NoReturn:
    """Ends a script as the commands end: one line on what was wrong and what to do, and exit status 2."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def train(folder: Path, recipe: str, overrides: list[str]) -> None:
    """Trains a run, goes on with one that was begun, or does nothing where it is finished.

    Args:
        folder: of the run.
        recipe: file, or name in configs.
        overrides: key=value.

    Raises:
        SystemExit: training failed, or the folder holds a run of another recipe.
    """
    _check_same(folder, recipe, overrides)
    if not metrics(folder, "validation").is_file():
        begun = ["--resume"] if (folder / "textvae.yaml").is_file() else []
        textvae("train", recipe, *overrides, f"output_dir={folder}", *begun)


def _check_same(folder: Path, recipe: str, overrides: list[str]) -> None:
    """Refuses a run that is not the one asked for: its numbers would stand under another's name."""
    if not (folder / "textvae.yaml").is_file():
        return
    from textvae.evaluation.run import fingerprints_of, run_sections  # here, since they take longer than --help may
    from textvae.weights import commit

    asked = load(recipe, overrides)
    try:
        old, new = dict(_keys(run_sections(folder))), dict(_keys(yaml.safe_load(asked.to_yaml())))
    except (ValueError, OSError) as error:
        refuse(str(error))
    for key in [key for key in new if key.endswith((".revision", ".fingerprint"))]:
        if new[key] is None:  # where a recipe names none, a run notes what it found
            new[key] = old.get(key)
        elif key.endswith(".revision"):
            section = key.removesuffix(".revision")
            new[key] = commit(new.get(f"{section}.name") or new.get(f"{section}.path") or "", new[key])
    different = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    if not different and (known := fingerprints_of(folder)):
        now = _fingerprints(asked)
        different = [f"{name} split" for name in known if known[name] != now.get(name)]
    if different:
        refuse(
            f"{folder} holds a run with another {', '.join(different[:5])}; choose another --output-dir, or remove "
            "that folder"
        )


def texts(folder: Path) -> str | None:
    """By which the texts of a run are known again, wherever they lie: twelve digits for its test split, if noted."""
    from textvae.evaluation.run import fingerprints_of

    known = fingerprints_of(folder)
    return known["test"][:12] if known else None


def texts_of(recipe: str, overrides: list[str]) -> str:
    """The same of the corpus that a run would have."""
    return _fingerprints(load(recipe, overrides))["test"][:12]


def load(recipe: str, overrides: list[str]) -> Recipe:
    """What they ask for, or the end of the script."""
    from textvae import load_recipe

    try:
        return load_recipe(recipe, overrides)
    except (ValueError, OSError) as error:
        refuse(str(error))


def _fingerprints(recipe: Recipe) -> dict[str, str]:
    from textvae.data.corpus import fingerprint, load_corpus

    try:
        splits = load_corpus(recipe.data).splits
    except (ValueError, OSError) as error:
        refuse(str(error))
    return {name: fingerprint(split) for name, split in splits.items()}


def _keys(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Each key of a recipe by its path, with its value; of a source of texts the name, since files may have moved."""
    for name, value in values.items():
        key = f"{above}{name}"
        if isinstance(value, dict):
            yield from _keys(value, f"{key}.")
        else:
            yield key, Path(value).name if key == "data.source" else value


def textvae(*arguments: str) -> None:
    """Runs `textvae` with these arguments and shows the command; its failure ends the script."""
    print("\n$", command(*arguments), flush=True)
    code = subprocess.run([sys.executable, "-m", "textvae", *arguments]).returncode
    if code:
        raise SystemExit(code)


def command(*arguments: str) -> str:
    """What to type for it."""
    return shlex.join(["textvae", *arguments])


def metrics(folder: Path, split: str) -> Path:
    """The file that holds the numbers of a run on a split, once it has been measured there.

    Args:
        folder: of the run.
        split: its name; `SPLIT-fitted-prior` where it was measured so.
    """
    return folder / ("metrics.json" if split == "validation" else f"metrics-{split}.json")


def figures(folder: Path, split: str) -> dict:
    """The numbers of a finished run on a split, with `minutes` of training and the doctor's `verdict`."""
    found = json.loads(metrics(folder, split).read_text())
    last = (folder / "logs" / "history.jsonl").read_text().splitlines()[-1]
    doctor = folder / "doctor.json"
    verdict = json.loads(doctor.read_text())["verdict"] if doctor.is_file() else None
    return found | {"minutes": json.loads(last)["seconds"] / 60, "verdict": verdict}
