"""`textvae COMMAND`: collects the commands; none of them imports anything heavy before it runs."""

from __future__ import annotations

import io
import os
import sys

import typer

from textvae.cli import (
    common,
    decode,
    doctor,
    encode,
    evaluate,
    fit_prior,
    interpolate,
    quickstart,
    reconstruct,
    sample,
    train,
)

app = typer.Typer(
    name="textvae",
    help="Variational autoencoders of text: train on a corpus, sample sentences, interpolate between them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (quickstart, train, evaluate, doctor, sample, reconstruct, interpolate, encode, decode, fit_prior):
    app.command(name=module.__name__.rsplit(".", 1)[1].replace("_", "-"))(module.run)


def main() -> None:
    """Runs a command; what a user did wrong is one line on stderr and exit status 2."""
    _write_utf8()
    try:
        app()
    except (ValueError, OSError, ImportError) as error:
        from textvae.validation import one_line

        message = error
        if isinstance(error, OSError) and error.strerror:
            message = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        common.NOTICES.buffer.clear()
        print(f"error: {one_line(message, 1000)}", file=sys.stderr)
        sys.exit(2)


def _write_utf8() -> None:
    """Files and pipes get UTF-8, as all files here have it; a terminal what it can show."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            own = stream.isatty() or "PYTHONIOENCODING" in os.environ
            stream.reconfigure(encoding=None if own else "utf-8", errors="replace")
