"""`textvae reconstruct RUN TEXT...`."""

from __future__ import annotations

from typing import Annotated

import typer

from textvae.cli.common import Decoding, Json, Refine, RunFolder, Seed, decoding, indent, load, print_json, texts_from


def run(
    run: RunFolder,
    texts: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="Texts; or lines on stdin.")] = None,
    seed: Seed = None,
    refine: Refine = 0,
    options: Decoding = None,
    json: Json = False,
) -> None:
    """Encode texts and decode them again, without sampling."""
    generation = decoding(options)
    originals = texts_from(texts)
    copies = load(run).reconstruct(originals, seed=seed, refine=refine, **generation)
    if json:
        print_json({"originals": originals, "reconstructions": copies})
        return
    each = len(copies) // len(originals)  # more than 1 with num_return_sequences
    for number, original in enumerate(originals):
        print(original, *(indent(copy, "  -> ") for copy in copies[number * each : (number + 1) * each]), sep="\n")
