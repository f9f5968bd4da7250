"""`textvae evaluate RUN [key=value ...]`."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any

import typer

from textvae.cli.common import Json, indent, print_json, print_metrics, quiet


def run(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Such as data.source=OTHER.")
    ] = None,
    split: Annotated[str, typer.Option(help="validation or test.")] = "validation",
    samples: Annotated[int, typer.Option(min=1, help="Samples of the importance-weighted bound.")] = 500,
    nearest: Annotated[int, typer.Option(min=0, help="Print so many samples with their nearest training line.")] = 0,
    curve: Annotated[bool, typer.Option("--curve", help="Show how iw_nll falls with the number of samples.")] = False,
    fp32: Annotated[bool, typer.Option("--fp32", help="Full precision where bfloat16 would be faster.")] = False,
    json: Json = False,
) -> None:
    """Measure a run; the table is printed and written to metrics.json (metrics-test.json for the test split)."""
    quiet()
    from pathlib import Path

    from textvae.cli.progress import Bars
    from textvae.data.corpus import text_batches
    from textvae.evaluation.report import write_json
    from textvae.evaluation.run import evaluate_run
    from textvae.evaluation.text import is_chinese, nearest_lines

    folder = Path(run)
    with Bars() as bars:
        metrics, vae, train = evaluate_run(
            folder, split, samples, overrides, False if fp32 else None, bars.stage, curve
        )
    # Another corpus than the run's own must not overwrite the run's numbers.
    if not overrides:
        write_json(folder / ("metrics.json" if split == "validation" else f"metrics-{split}.json"), metrics)
    found = []
    if nearest and train:
        texts = vae.sample(nearest, seed=0)
        lines = nearest_lines(texts, text_batches(train), is_chinese(texts))
        found = [
            {"sample": text, "nearest": line, "overlap": overlap}
            for text, (overlap, line) in zip(texts, lines, strict=True)
        ]
    if json:
        print_json({**metrics, "nearest": found} if nearest else metrics)
        return
    print_metrics(metrics)
    if curve and metrics["latent_size"]:
        print("", "samples     iw_nll", *curve_lines(metrics), sep="\n")
    for row in found:
        overlap = f"  {row['overlap']:.2f}  "
        print("", row["sample"], indent(row["nearest"], overlap), sep="\n")


def curve_lines(metrics: dict[str, Any]) -> list[str]:
    """Number of samples, bound in nats a text, and what it is below that with fewer samples."""
    points = [(int(key[8:]), value) for key, value in metrics.items() if key.startswith("iw_nll_k")]
    falls = [None, *(before[1] - point[1] for before, point in pairwise(points))]
    return [
        f"{k:>7}  {value:9.4f}" + ("" if fall is None else f"  {-fall:+.4f}")
        for (k, value), fall in zip(points, falls, strict=True)
    ]
