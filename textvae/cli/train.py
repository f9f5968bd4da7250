"""`textvae train RECIPE [key=value ...]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from textvae.cli.common import Json, print_json, print_metrics, quiet


def run(
    config: Annotated[str, typer.Argument(metavar="RECIPE", help="Recipe: a YAML file, or a name in configs/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Such as training.max_steps=500.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing run.")] = False,
    json: Json = False,
) -> None:
    """Train a model as a recipe says; the run folder is output_dir=DIR (default runs/<recipe>)."""
    quiet()
    from textvae.recipe import load_recipe

    recipe = load_recipe(config, overrides)
    from textvae.cli.doctor import diagnosis_lines
    from textvae.cli.progress import Bars
    from textvae.training.run import train

    with Bars() as bars:
        try:
            result = train(recipe, resume, overwrite, [bars], bars.stage)
        except KeyboardInterrupt:
            bars.console.print(f"stopped; {_what_is_left(recipe.output_dir, overwrite)}")
            raise
    if json:
        print_json(result.metrics)
        return
    print_metrics(result.metrics)
    if result.diagnosis:
        print("", *diagnosis_lines(result.diagnosis), "", sep="\n")
    print(f"run: {result.folder}")


def _what_is_left(folder: Path, overwrite: bool) -> str:
    """After an interruption."""
    from textvae.training.folder import begun

    if not (folder / "textvae.yaml").is_file():
        return "nothing was begun"
    if overwrite:
        return (
            f"{folder} is as it was, or holds what the new run has done (go on with --resume and without --overwrite)"
        )
    if begun(folder):
        return "the same command with --resume goes on from the last checkpoint"
    return "no checkpoint is there yet: the same command with --resume starts again"
