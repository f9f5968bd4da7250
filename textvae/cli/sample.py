"""`textvae sample RUN -n N`."""

from __future__ import annotations

from typing import Annotated

import typer

from textvae.cli.common import Decoding, Json, RunFolder, Seed, decoding, load, print_json
from textvae.evaluation.text import set_apart


def run(
    run: RunFolder,
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="How many texts.")] = 8,
    z_scale: Annotated[float, typer.Option(help="Factor on the noise of z: the latent's temperature.")] = 1.0,
    prior: Annotated[str, typer.Option(help="model, or fitted: what `textvae fit-prior` left in the run.")] = "model",
    temperature: Annotated[float | None, typer.Option(help="Temperature of the words.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Nucleus of the words.")] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Take the likeliest word.")] = False,
    allow_unknown: Annotated[bool, typer.Option("--allow-unknown", help="Let the unknown word be generated.")] = False,
    seed: Seed = None,
    options: Decoding = None,
    json: Json = False,
) -> None:
    """Sample texts from the prior."""
    greedily = {"do_sample": False, "num_beams": 1} if greedy else {}
    named = {"temperature": temperature, "top_p": top_p, "allow_unknown": allow_unknown or None}
    generation = decoding(options, **greedily, **named)
    texts = load(run).sample(n, z_scale=z_scale, prior=prior, seed=seed, **generation)
    if json:
        print_json({"samples": texts})
    else:
        print(set_apart(texts))
