"""`textvae fit-prior RUN [key=value ...]`."""

from __future__ import annotations

from typing import Annotated

import typer

from textvae.cli.common import Json, print_json, print_metrics, quiet


def run(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Such as data.source=MOVED.")
    ] = None,
    kind: Annotated[str, typer.Option(help="mixture (of Gaussians) or flow (needs the extra flows).")] = "mixture",
    components: Annotated[
        int | None, typer.Option(min=1, help="Of the mixture; 50, or fewer on small corpora.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of all that is random.")] = 0,
    json: Json = False,
) -> None:
    """Fit a prior to the vectors of a run's training texts, for `sample` and `evaluate` with `--prior fitted`."""
    quiet()
    from textvae.evaluation.fitting import fit_run_prior

    report = fit_run_prior(run, kind, components, seed, overrides)
    if json:
        print_json(report)
    else:
        print_metrics(report)
