"""`textvae quickstart`: trains on a sample corpus and shows what came of it."""

from __future__ import annotations

import shlex
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from textvae.cli.common import Json, indent, print_json, quiet
from textvae.cli.interpolate import path_lines
from textvae.evaluation.text import set_apart


class SampleCorpus(StrEnum):
    """The corpora that ship with the package."""

    headlines = "headlines"
    poems = "poems"
    quatrains = "quatrains"


def run(
    corpus: Annotated[SampleCorpus, typer.Option(help="Sample corpus.")] = SampleCorpus.headlines,
    output_dir: Annotated[
        str | None, typer.Option(help="Run folder; when left out runs/quickstart-CORPUS, or that with a new number.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of training and of what is shown.")] = 0,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Shorter or longer training.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing run.")] = False,
    json: Json = False,
) -> None:
    """Train on a sample corpus in about three minutes, then sample, reconstruct and interpolate."""
    quiet()
    from textvae.recipe import load_recipe

    folder = output_dir or fresh_folder(f"runs/quickstart-{corpus.value}", overwrite)
    overrides = [f"output_dir={folder}", f"training.seed={seed}"]
    if max_steps:
        overrides.append(f"training.max_steps={max_steps}")
    recipe = load_recipe(f"{corpus.value}_gru_gru", overrides)
    from textvae.cli.progress import Bars
    from textvae.training.run import train

    with Bars() as bars:
        result = train(recipe, overwrite=overwrite, callbacks=[bars], progress=bars.stage)
    vae, held_out = result.vae, result.splits["test"]["text"][:]
    shown = {
        "samples": vae.sample(8, seed=seed),
        "originals": held_out[:4],
        "reconstructions": vae.reconstruct(held_out[:4]),
        "a": held_out[4],
        "b": held_out[5],
        "interpolation": vae.interpolate(held_out[4], held_out[5], steps=7),
    }
    if json:
        print_json({**result.metrics, **shown, "run": str(result.folder)})
        return
    print(report(result, shown))


def fresh_folder(name: str, overwrite: bool) -> str:
    """The folder of this name or, where a run is in it that is to be kept, of this name with the next free number."""
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(name for name in names if overwrite or not Path(name).exists())


def report(result, shown: dict) -> str:
    """What a newcomer wants to see, as text."""
    m = result.metrics
    numbers = [
        ("nll", f"{m['nll']:.1f} nats a text: the bound on -log p(text)"),
        ("rate", f"{m['rate']:.1f} nats: what the latent vector tells about a text"),
        ("active units", f"{m['active_units']} of {m['latent_size']} latent dimensions are used"),
        ("reconstruction", f"BLEU {m['reconstruction_bleu']:.1f}, {100 * m['token_accuracy']:.0f}% of tokens in place"),
    ]
    lines = [f"Trained in {result.training_seconds / 60:.1f} minutes. On {m['sentences']} validation texts:", ""]
    lines += [f"  {name:<15} {text}" for name, text in numbers]
    lines += ["", "Eight samples from the prior:", ""]
    lines += [set_apart([indent(text, "  ") for text in shown["samples"]])]
    lines += ["", "Four held-out texts and their reconstructions:", ""]
    for original, copy in zip(shown["originals"], shown["reconstructions"], strict=True):
        lines += [indent(original, "  "), indent(copy, "  -> "), ""]
    lines += ["Seven steps between two held-out texts:", ""]
    lines += [indent(path_lines(shown["a"], shown["b"], shown["interpolation"]), "  "), ""]
    folder = result.folder
    lines += [
        f"The run lies in {folder} (model, tokenizer, metrics.json, samples.txt, README.md, report.html). Next:",
        "",
        "  " + shlex.join(["textvae", "interpolate", str(folder), shown["a"], shown["b"], "--refine", "20"]),
        "  " + shlex.join(["textvae", "sample", str(folder), "-n", "20", "--temperature", "0.8"]),
        "  " + shlex.join(["textvae", "evaluate", str(folder), "--split", "test"]),
    ]
    return "\n".join(lines)
