"""What commands share: quiet libraries, options of decoding, texts from arguments or stdin, tables."""

from __future__ import annotations

import json
import logging
import os
import sys
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Seed = Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same output.")]
RunFolder = Annotated[str, typer.Argument(metavar="RUN", help="Run folder, or a model on the Hugging Face Hub.")]
Refine = Annotated[
    int, typer.Option(min=0, help="Gradient steps for each text, such as 20: the more, the more of it comes back.")
]
Decoding = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A field of generation, such as temperature=0.8, top_k=50, num_beams=4 (repeatable).",
    ),
]


# Notices wait here until a command is under way, so that a mistake found before is told in one line.
NOTICES = MemoryHandler(10_000, flushLevel=logging.WARNING)


def quiet() -> None:
    """Keeps libraries from talking over the command; textvae's own notices go to stderr."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "0" if sys.stderr.isatty() else "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    NOTICES.setTarget(handler)
    NOTICES.capacity = 10_000
    logger = logging.getLogger("textvae")
    logger.handlers = [NOTICES]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def under_way() -> None:
    """Shows the notices that wait, and those to come at once."""
    NOTICES.flush()
    NOTICES.capacity = 1


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

    What only sampling reads asks for sampling, also where the run decodes greedily or with beams.

    Raises:
        ValueError: a pair without "=", an unknown field, or a value of the wrong type or out of range.
    """
    import yaml
    from pydantic import Field

    from textvae.recipe import GenerationSection
    from textvae.validation import parse_section

    class Options(GenerationSection):
        """What a recipe may say, and what makes sense for one command alone."""

        num_return_sequences: int = Field(1, ge=1)
        min_new_tokens: int | None = Field(None, ge=0)
        length_penalty: float = 1.0
        allow_unknown: bool = False

    values = {key: value for key, value in named.items() if value is not None}
    for pair in pairs or []:
        key, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"--set {pair}: wanted KEY=VALUE, for instance temperature=0.8")
        try:
            values[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            values[key] = text
    if not values.keys().isdisjoint({"temperature", "top_k", "top_p", "min_p"}):
        values = {"do_sample": True, "num_beams": 1} | values
    return parse_section(Options, values, "generation").model_dump(include=set(values))


def texts_from(arguments: list[str] | None) -> list[str]:
    """Texts from the command line or, when there are none or only "-", lines of stdin that are not blank.

    Raises:
        ValueError: no text at all.
    """
    if arguments and arguments != ["-"]:
        return arguments
    texts = [line for line in lines_of_stdin() if line.strip()]
    if not texts:
        raise ValueError("TEXT: stdin held no text")
    return texts


def lines_of_stdin() -> list[str]:
    """All of them, blank ones too.

    Raises:
        ValueError: there is no stdin but a keyboard, or it is not UTF-8.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise ValueError("TEXT: give texts as arguments or lines on stdin")
    try:
        content = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"stdin: not UTF-8 (byte {error.start})") from None
    # A line ends where it ends in a file, and not at the other characters at which splitlines cuts.
    return [line.removesuffix("\r") for line in content.removesuffix("\n").split("\n")]


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    print(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False))


def print_metrics(metrics: dict[str, Any]) -> None:
    """The numbers that are defined as a table on stdout."""
    from textvae.evaluation.report import in_words

    shown = {key: value for key, value in metrics.items() if value is not None}
    width = max(len(key) for key in shown) + 2
    for key, value in shown.items():
        print(f"{key:<{width}}{in_words(value)}")


def indent(text: str, mark: str) -> str:
    """A text behind a mark, its further lines under its first."""
    return mark + text.replace("\n", "\n" + " " * len(mark))


def check_target(path: Path, source: str) -> None:
    """Raises ValueError where a file cannot be written, or would take the place of what it is made from."""
    if not path.parent.is_dir():
        raise ValueError(f"OUT: there is no folder {path.parent}")
    if path.is_dir():
        raise ValueError(f"OUT: {path} is a folder; wanted a file")
    if path.exists() and Path(source).exists() and path.samefile(source):
        raise ValueError(f"OUT: {path} is IN as well, which would be lost; give another name")
