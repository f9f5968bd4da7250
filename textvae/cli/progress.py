"""Progress of training and evaluation on the terminal."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback

from textvae.cli.common import under_way


class Bars(TrainerCallback):
    """A bar for training with the last loss, rate and beta; a line for each evaluation.

    Without a terminal there is no bar, and logged steps are lines.

    Args:
        console: where it goes; stderr when None.
    """

    def __init__(self, console: Console | None = None):
        self.console = console or Console(file=sys.stderr, highlight=False, soft_wrap=True)
        # As much as 80 columns hold.
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(16),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = None
        self.stages: dict[str, Any] = {}

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *error) -> None:
        self.progress.stop()  # which gives the terminal its cursor back

    def on_train_begin(self, args, state, control, **kwargs):
        under_way()
        self.progress.start()
        self.task = self.progress.add_task("training", total=state.max_steps, completed=state.global_step, numbers="")

    def on_step_end(self, args, state, control, **kwargs):
        self.progress.update(self.task, completed=state.global_step)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "loss" in logs:
            numbers = "  ".join(
                f"{name} {logs[name]:.{digits}f}"
                for name, digits in (("loss", 1), ("rate", 2), ("beta", 2))
                if name in logs
            )
            self.progress.update(self.task, numbers=numbers)
            if not self.console.is_terminal and state.global_step % (10 * state.logging_steps) == 0:
                self.console.print(f"step {state.global_step}/{state.max_steps}  {numbers}")

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        numbers = "  ".join(
            f"{name} {metrics[f'eval_{name}']:.2f}"
            for name in ("nll", "distortion", "rate")
            if f"eval_{name}" in metrics
        )
        active = f"  active units {metrics['eval_active_units']}" if "eval_active_units" in metrics else ""
        self.console.print(f"step {state.global_step}/{state.max_steps}  validation: {numbers}{active}")

    def on_train_end(self, args, state, control, **kwargs):
        self.progress.update(self.task, completed=state.global_step, numbers="")
        self.progress.stop()

    def stage(self, name: str, done: int, total: int) -> None:
        """Advances the bar of a stage of evaluation."""
        if name not in self.stages:
            under_way()
            if not self.progress.live.is_started:
                self.progress.start()
            self.stages[name] = self.progress.add_task(name, total=total, numbers="")
        self.progress.update(self.stages[name], completed=done)
        if done >= total:
            self.progress.stop()
