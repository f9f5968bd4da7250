"""`textvae encode RUN IN OUT`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from textvae.cli.common import Json, Refine, RunFolder, Seed, check_target, lines_of_stdin, load, print_json


class Unit(StrEnum):
    """What is one text."""

    line = "line"
    paragraph = "paragraph"
    document = "document"


def run(
    run: RunFolder,
    source: Annotated[
        str, typer.Argument(metavar="IN", help="Texts: txt, csv, tsv, json, jsonl or parquet; - reads stdin.")
    ],
    target: Annotated[str, typer.Argument(metavar="OUT", help="Vectors: parquet, jsonl, safetensors or npy.")],
    text_column: Annotated[str, typer.Option(help="Column of the texts.")] = "text",
    unit: Annotated[
        Unit | None, typer.Option(help="What is one text of a file; what it was in training when not given.")
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Draw from the posterior; its mean otherwise.")] = False,
    seed: Seed = None,
    refine: Refine = 0,
    json: Json = False,
) -> None:
    """Write the latent vectors of texts to a file; blank texts are left out and counted."""
    from textvae.cli.vectors import check_suffix, write_vectors
    from textvae.data.files import SUFFIXES, read_texts

    check_suffix(Path(target))
    check_target(Path(target), source)
    if source == "-":
        if unit not in (None, Unit.line):
            raise ValueError(f"--unit {unit}: a line of stdin is a text; give a file")
        rows = lines_of_stdin()
    else:
        path = Path(source)
        if not path.is_file() or path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"IN: {source} is not a file that ends in {', '.join(SUFFIXES)}")
        unit = unit or _unit_of(Path(run))
        rows = [row["text"] for row in read_texts(path, text_column, None, unit, "--text-column")]
    texts = [text for text in rows if text.strip()]
    if not texts:
        raise ValueError(f"IN: {source} holds no text")
    z = load(run).encode(texts, sample=sample, seed=seed, refine=refine)
    write_vectors(Path(target), texts, z)
    summary = {"texts": len(texts), "blank": len(rows) - len(texts), "latent_size": z.shape[1], "file": target}
    if json:
        print_json(summary)
    else:
        blank = f" ({summary['blank']} blank ones left out)" if summary["blank"] else ""
        print(f"{len(texts)} texts{blank}, {z.shape[1]} dimensions -> {target}")


def _unit_of(folder: Path) -> str:
    """What was one text of a run's corpus; a line where that is not known (a model from elsewhere)."""
    from textvae.recipe import read_sections

    file = folder / "textvae.yaml"
    return read_sections(file)["data"].get("unit", Unit.line) if file.is_file() else Unit.line
