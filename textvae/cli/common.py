"""What commands share: quiet libraries, options of decoding, texts from arguments or stdin, tables."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Seed = Annotated[int | None, typer.Option(help="Makes the output repeat.")]
RunFolder = Annotated[str, typer.Argument(metavar="RUN", help="Run folder, or a model on the Hugging Face Hub.")]
Decoding = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A field of generation, such as temperature=0.8, top_k=50, num_beams=4 (repeatable).",
    ),
]


def quiet() -> None:
    """Keeps libraries from talking over the command; textvae's own notices go to stderr."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "0" if sys.stderr.isatty() else "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    logger = logging.getLogger("textvae")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        return prefix + record.getMessage()


def load(run: str):
    """The model of a run, without progress bars."""
    quiet()
    from transformers.utils import logging as transformers_logging

    from textvae.inference.text_vae import TextVAE

    transformers_logging.disable_progress_bar()
    return TextVAE.from_pretrained(run)


def decoding(pairs: list[str] | None, **named: Any) -> dict[str, Any]:
    """Fields of generation from `--set` and from named options that were given.

    Raises:
        ValueError: a pair without "=", or a value of the wrong type or out of range.
    """
    import yaml

    from textvae.recipe import GenerationSection
    from textvae.validation import parse_section

    values = {key: value for key, value in named.items() if value is not None}
    for pair in pairs or []:
        key, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"--set {pair}: wanted KEY=VALUE, for instance temperature=0.8")
        values[key] = yaml.safe_load(text)
    own = {key: value for key, value in values.items() if key in GenerationSection.model_fields}
    checked = parse_section(GenerationSection, own, "generation").model_dump(include=set(own))
    return {**values, **checked}


def texts_from(arguments: list[str] | None) -> list[str]:
    """Texts from the command line or, when there are none or only "-", lines of stdin.

    Raises:
        ValueError: no text at all.
    """
    if arguments and arguments != ["-"]:
        return arguments
    if sys.stdin.isatty():
        raise ValueError("TEXT: give texts as arguments or lines on stdin")
    try:
        texts = [line for line in sys.stdin.buffer.read().decode("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"stdin: not UTF-8 (byte {error.start})") from None
    if not texts:
        raise ValueError("TEXT: stdin held no text")
    return texts


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def metrics_table(metrics: dict[str, Any]):
    """A two-column table of the numbers that are defined."""
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    for key, value in metrics.items():
        if value is not None and value != "":
            table.add_row(key, f"{value:.4f}" if isinstance(value, float) else str(value))
    return table
