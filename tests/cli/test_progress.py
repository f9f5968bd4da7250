"""The progress of training and evaluation on a terminal and off it."""

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from textvae.cli.progress import Bars

LOGS = {"loss": 123.456, "distortion": 111.1, "rate": 12.3456, "beta": 0.25, "epoch": 1.0}
METRICS = {"eval_nll": 99.5, "eval_distortion": 90.25, "eval_rate": 9.25, "eval_active_units": 31}


def play(terminal: bool, metrics=METRICS) -> str:
    """What is shown of a training of 3,000 steps that are logged every 50, and of an evaluation."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=80, highlight=False, soft_wrap=True, color_system=None)
    state = SimpleNamespace(global_step=0, max_steps=3000, logging_steps=50)
    with Bars(console) as bars:
        bars.on_train_begin(None, state, None)
        for state.global_step in range(1, 3001):
            bars.on_step_end(None, state, None)
            if state.global_step % 50 == 0:
                bars.on_log(None, state, None, logs=LOGS)
        bars.progress.refresh()  # which happens ten times a second by itself
        bars.on_evaluate(None, state, None, metrics=metrics)
        bars.on_train_end(None, state, None)
        for done in (1000, 3000):
            bars.stage("iw_nll, 500 samples", done, 3000)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue())


def test_without_a_terminal():
    """A line for every tenth log and every evaluation."""
    lines = play(terminal=False).splitlines()
    assert len(lines) == 7
    assert lines[0] == "step 500/3000  loss 123.5  rate 12.35  beta 0.25"
    assert lines[-1] == "step 3000/3000  validation: nll 99.50  distortion 90.25  rate 9.25  active units 31"


def test_on_a_terminal():
    """Bars that fit in 80 columns, and the evaluation as a line."""
    shown = play(terminal=True)
    assert "…" not in shown
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", shown)]
    assert max(len(line) for line in lines if "validation" not in line) <= 80
    assert any(line.startswith("training") and line.endswith("loss 123.5  rate 12.35  beta 0.25") for line in lines)
    assert any(line.startswith("iw_nll, 500 samples") and "3000/3000" in line for line in lines)
    assert any("validation: nll 99.50" in line for line in lines)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_language_model_has_no_rate(terminal):
    shown = play(terminal, {"eval_nll": 99.5, "eval_distortion": 99.5})
    assert "validation: nll 99.50  distortion 99.50\n" in shown


def test_the_cursor_comes_back_after_an_error():
    """A bar hides it; whatever ends the command, it is shown again."""
    file = io.StringIO()
    state = SimpleNamespace(global_step=1, max_steps=3, logging_steps=1)

    def break_off():
        with Bars(Console(file=file, force_terminal=True)) as bars:
            bars.on_train_begin(None, state, None)
            raise ValueError("trouble")

    with pytest.raises(ValueError, match="trouble"):
        break_off()
    assert file.getvalue().rindex("\x1b[?25h") > file.getvalue().rindex("\x1b[?25l")
