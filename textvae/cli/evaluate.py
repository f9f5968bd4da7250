"""`textvae evaluate RUN [key=value ...]`."""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from textvae.cli.common import Json, indent, print_json, print_metrics, quiet


def run(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Such as data.source=OTHER.")
    ] = None,
    split: Annotated[str, typer.Option(help="validation, test or train.")] = "validation",
    samples: Annotated[int, typer.Option(min=1, help="Samples of the importance-weighted bound.")] = 500,
    nearest: Annotated[
        int, typer.Option(min=0, help="Print this many samples, each with the nearest training line.")
    ] = 0,
    curve: Annotated[bool, typer.Option("--curve", help="Show how iw_nll falls with the number of samples.")] = False,
    against: Annotated[
        str | None, typer.Option(metavar="LM_RUN", help="Print the gap to a run with model.latent.size=0.")
    ] = None,
    perplexities: Annotated[
        bool, typer.Option("--perplexities", help="Forward and reverse perplexity of samples.")
    ] = False,
    lm_steps: Annotated[
        int | None, typer.Option(min=1, help="Updates of each language model of --perplexities; 2,000 when not given.")
    ] = None,
    paths: Annotated[int, typer.Option(min=0, help="Measure interpolations between this many random pairs.")] = 0,
    probes: Annotated[bool, typer.Option("--probes", help="Accuracy of labels read off mu.")] = False,
    mauve: Annotated[
        str | None, typer.Option(metavar="MODEL", help="MAUVE of samples, by a transformers sentence encoder.")
    ] = None,
    refine: Annotated[int, typer.Option(min=0, help="Measure after this many gradient steps on each text, too.")] = 0,
    prior: Annotated[
        str, typer.Option(help="p(z): the model's own, or fitted: that of `textvae fit-prior`.")
    ] = "model",
    fp32: Annotated[bool, typer.Option("--fp32", help="Full precision where bfloat16 would be faster.")] = False,
    json: Json = False,
) -> None:
    """Measure a run; the table is printed, and written to metrics.json or metrics-SPLIT[...].json in its folder."""
    quiet()
    from textvae.cli.progress import Bars
    from textvae.data.corpus import text_batches
    from textvae.evaluation.report import write_json
    from textvae.evaluation.run import Extras, evaluate_run
    from textvae.evaluation.text import is_chinese, nearest_lines

    folder = Path(run)
    if lm_steps and not perplexities:
        raise ValueError("--lm-steps: no effect without --perplexities")
    extras = Extras(curve, against, perplexities, lm_steps or Extras.lm_steps, paths, probes, mauve, refine)
    with Bars() as bars:
        metrics, vae, train = evaluate_run(
            folder, split, samples, overrides, False if fp32 else None, bars.stage, extras, prior
        )
    found = []
    if nearest and train:
        texts = vae.sample(nearest, seed=0, prior=prior)
        lines = nearest_lines(texts, text_batches(train), is_chinese(texts))
        found = [
            {"sample": text, "nearest": line, "overlap": overlap}
            for text, (overlap, line) in zip(texts, lines, strict=True)
        ]
    try:
        write_json(folder / metrics_file(split, overrides or [], prior), metrics)
    finally:  # what took long is seen even where nothing can be written
        if json:
            print_json({**metrics, "nearest": found} if nearest else metrics)
        else:
            _show(metrics, found, curve, bool(against))


def _show(metrics: dict[str, Any], found: list[dict[str, Any]], curve: bool, against: bool) -> None:
    print_metrics(metrics)
    if curve and metrics["latent_size"] and metrics["iw_nll"] is not None:
        print("", "samples     iw_nll", *curve_lines(metrics), sep="\n")
    if against:
        print("", gap_line(metrics), sep="\n")
    for row in found:
        overlap = f"  {row['overlap']:.2f}  "
        print("", row["sample"], indent(row["nearest"], overlap), sep="\n")


def metrics_file(split: str, overrides: list[str], prior: str = "model") -> str:
    """Name of the file of a run's numbers; those of another corpus or prior never overwrite those of its own."""
    if not overrides and split == "validation" and prior == "model":
        return "metrics.json"
    others = [re.sub(r"\W+", "-", Path(override.partition("=")[2]).name).strip("-")[:40] for override in overrides]
    mark = hashlib.sha256(" ".join(overrides).encode()).hexdigest()[:6] if overrides else ""
    of_prior = "" if prior == "model" else f"{prior}-prior"
    return f"{'-'.join(part for part in ['metrics', split, *others, mark, of_prior] if part)}.json"


def curve_lines(metrics: dict[str, Any]) -> list[str]:
    """Number of samples, bound in nats a text, and what it is below that with fewer samples."""
    points = [(int(key[8:]), value) for key, value in metrics.items() if key.startswith("iw_nll_k")]
    falls = [None, *(before[1] - point[1] for before, point in pairwise(points))][: len(points)]
    return [
        f"{k:>7}  {value:9.4f}" + ("" if fall is None else f"  {-fall:+.4f}")
        for (k, value), fall in zip(points, falls, strict=True)
    ]


def gap_line(metrics: dict[str, Any]) -> str:
    """How far the VAE and the language model are apart, in the unit in which they can be compared."""
    if metrics["lm_nll"] is None:
        names, unit = ("gap_bits_per_byte",), "bits a byte (iw_nll; the vocabularies differ)"
    elif metrics["latent_size"]:
        names, unit = ("gap_iw_nll", "gap_nll"), "nats a text (iw_nll, nll)"
    else:
        names, unit = ("gap_nll",), "nats a text"
    gaps = ["undefined" if metrics[name] is None else f"{metrics[name]:+.3f}" for name in names]
    errors = [metrics[f"{name}_stderr"] for name in names]
    gaps = [gap if error is None else f"{gap} ± {error:.3f}" for gap, error in zip(gaps, errors, strict=True)]
    return f"less the language model: {', '.join(gaps)} {unit}; below 0 the VAE is better"
