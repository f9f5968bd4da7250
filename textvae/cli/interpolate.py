"""`textvae interpolate RUN A B`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from textvae.cli.common import Decoding, Json, Refine, RunFolder, Seed, decoding, indent, load, print_json, texts_from


class Method(StrEnum):
    """How to go."""

    slerp = "slerp"
    lerp = "lerp"


def run(
    run: RunFolder,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="A B", help="Texts to start from and to arrive at; or lines on stdin.")
    ] = None,
    steps: Annotated[int, typer.Option(min=2, help="Texts on the way, both ends counted.")] = 7,
    method: Annotated[Method, typer.Option(help="Along the sphere, or straight.")] = Method.slerp,
    seed: Seed = None,
    refine: Refine = 0,
    options: Decoding = None,
    json: Json = False,
) -> None:
    """Walk from one text to another through the latent space."""
    generation = decoding(options)
    ends = texts_from(texts)
    if len(ends) != 2:
        raise ValueError(f"A B: wanted 2 texts, got {len(ends)}")
    path = load(run).interpolate(*ends, steps, method.value, seed=seed, refine=refine, **generation)
    if json:
        print_json({"a": ends[0], "b": ends[1], "method": method.value, "steps": path})
        return
    print(path_lines(*ends, path))


def path_lines(a: str, b: str, texts: list[str]) -> str:
    """A path as lines, with the originals above its ends."""
    width = len(str(len(texts)))
    rows = [indent(text, f"{number:>{width}}  ") for number, text in enumerate(texts, 1)]
    return "\n".join([indent(a, "from: "), indent(b, "to:   "), "", *rows])
