"""`textvae doctor RUN [key=value ...]`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from textvae.cli.common import Json, print_json, quiet


def run(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Such as data.source=MOVED.")
    ] = None,
    prior: Annotated[
        str, typer.Option(help="p(z): the model's own, or fitted: that of `textvae fit-prior`.")
    ] = "model",
    json: Json = False,
) -> None:
    """Say whether the posterior collapsed, whether the decoder uses z, and what to change; in seconds."""
    quiet()
    from transformers.utils import logging as transformers_logging

    from textvae.evaluation.doctor import examine_run

    transformers_logging.disable_progress_bar()
    diagnosis = examine_run(run, overrides, prior=prior)
    if json:
        print_json(diagnosis)
    else:
        print("\n".join(diagnosis_lines(diagnosis)))


def diagnosis_lines(diagnosis: dict[str, Any]) -> list[str]:
    """The verdict, what was found, and what to change, a line each."""
    advice = ["What to change:", *(f"  {line}" for line in diagnosis["advice"])] if diagnosis["advice"] else []
    return [f"verdict: {diagnosis['verdict']}", *(f"  {line}" for line in diagnosis["findings"]), *advice]
