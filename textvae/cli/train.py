"""`textvae train CONFIG [key=value ...]`."""

from __future__ import annotations

from typing import Annotated

import typer

from textvae.cli.common import Json, print_json, print_metrics, quiet


def run(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="Recipe: a YAML file, or a name in configs/.")],
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
    from textvae.training.folder import begun
    from textvae.training.run import train

    with Bars() as bars:
        try:
            result = train(recipe, resume, overwrite, [bars], bars.stage)
        except KeyboardInterrupt:
            if begun(recipe.output_dir):
                bars.console.print("stopped; the same command with --resume goes on from the last checkpoint")
            else:
                bars.console.print("stopped before the first checkpoint: there is nothing to go on from")
            raise
    if json:
        print_json(result.metrics)
        return
    print_metrics(result.metrics)
    if result.diagnosis:
        print("", *diagnosis_lines(result.diagnosis), "", sep="\n")
    print(f"run: {result.folder}")
