"""`textvae interpolate RUN A B`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from textvae.cli.common import Decoding, Json, RunFolder, Seed, decoding, load, print_json


class Method(StrEnum):
    """How to go."""

    slerp = "slerp"
    lerp = "lerp"


def run(
    run: RunFolder,
    a: Annotated[str, typer.Argument(metavar="A", help="Text to start from.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Text to arrive at.")],
    steps: Annotated[int, typer.Option(min=2, help="Texts on the way, both ends counted.")] = 7,
    method: Annotated[Method, typer.Option(help="Along the sphere, or straight.")] = Method.slerp,
    seed: Seed = None,
    options: Decoding = None,
    json: Json = False,
) -> None:
    """Walk from one text to another through the latent space."""
    texts = load(run).interpolate(a, b, steps, method.value, seed=seed, **decoding(options))
    if json:
        print_json({"a": a, "b": b, "method": method.value, "steps": texts})
        return
    print(path_lines(a, b, texts))


def path_lines(a: str, b: str, texts: list[str]) -> str:
    """A path as lines, with the originals above its ends."""
    width = len(str(len(texts)))
    rows = [f"{number:>{width}}  {text}" for number, text in enumerate(texts, 1)]
    return "\n".join([f"from: {a}", f"to:   {b}", "", *rows])
