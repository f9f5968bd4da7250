"""Runs commands in this process, as the shell would."""

import io
import json
import logging
import sys
from dataclasses import dataclass

import datasets
import pytest

from textvae.cli import common
from textvae.cli.main import main


@dataclass
class Result:
    """What a command left: exit status, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """stdout, which must be one JSON object and nothing else."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


@pytest.fixture
def textvae(monkeypatch, capfd):
    """Runs `textvae ARGUMENTS...`; `stdin` is what stands there, in text or bytes, and None a terminal."""
    # Without a terminal there are none of these; a command says so before it imports the library.
    datasets.disable_progress_bars()
    logger = logging.getLogger("textvae")
    before = (logger.handlers, logger.level, logger.propagate)

    def run(*arguments, stdin: str | bytes | None = "") -> Result:
        raw = stdin.encode() if isinstance(stdin, str) else stdin or b""
        stream = io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8")
        monkeypatch.setattr(stream, "isatty", lambda: stdin is None, raising=False)
        monkeypatch.setattr(sys, "stdin", stream)
        monkeypatch.setattr(sys, "argv", ["textvae", *map(str, arguments)])
        common.NOTICES.buffer.clear()
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as error:
            code = error.code or 0
        common.NOTICES.flush()
        captured = capfd.readouterr()
        return Result(code, captured.out, captured.err)

    yield run
    common.NOTICES.buffer.clear()
    logger.handlers, logger.level, logger.propagate = before
    datasets.enable_progress_bars()
