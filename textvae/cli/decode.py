"""`textvae decode RUN IN OUT`."""

from __future__ import annotations

from typing import Annotated

import typer

from textvae.cli.common import Decoding, Json, RunFolder, Seed, check_target, decoding, load, print_json
from textvae.writing import whole_file


def run(
    run: RunFolder,
    source: Annotated[str, typer.Argument(metavar="IN", help="Vectors: parquet, jsonl, safetensors or npy.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="Texts: txt (one a line) or jsonl; - prints them.")],
    sample: Annotated[bool, typer.Option("--sample", help="Sample the words; the likeliest otherwise.")] = False,
    seed: Seed = None,
    options: Decoding = None,
    json: Json = False,
) -> None:
    """Write the texts of latent vectors to a file."""
    from json import dumps
    from pathlib import Path

    from textvae.cli.vectors import read_vectors

    path = Path(target)
    if target != "-" and path.suffix not in (".txt", ".jsonl"):
        raise ValueError(f"OUT: {target} has an unknown ending; known: .txt, .jsonl, or - for stdout")
    if target != "-":
        check_target(path, source)
    generation = {"do_sample": sample, **decoding(options)}
    z = read_vectors(Path(source))
    texts = load(run).decode(z, seed=seed, **generation)
    if target == "-":
        if json:
            print_json({"texts": texts})
        else:
            print(*texts, sep="\n")
        return
    if path.suffix == ".jsonl":
        lines = [dumps({"text": text}, ensure_ascii=False) for text in texts]
    else:
        lines = [" ".join(text.split("\n")) for text in texts]  # a text is a line
    with whole_file(path) as draft:
        draft.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    if json:
        print_json({"texts": len(texts), "file": target})
    else:
        print(f"{len(texts)} texts -> {target}")
