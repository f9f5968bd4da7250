"""report.html of a run: one file that needs no network, with curves, numbers, samples and an interpolation."""

from __future__ import annotations

import base64
import html
import io
from typing import Any

from textvae.evaluation.report import in_words

# Panels of the figure: title, key of the training logs, key of the evaluations; nll has no counterpart in training,
# whose loss is weighted by beta.
_PANELS = (
    ("nll, nats a text", None, "eval_nll"),
    ("distortion, nats a text", "distortion", "eval_distortion"),
    ("rate, nats a text", "rate", "eval_rate"),
    ("beta", "beta", None),
    ("active units", None, "eval_active_units"),
)
_TRAIN, _VALIDATION = "#9aa5b1", "#1f6feb"
_STYLE = """
:root { color-scheme: light }
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2733; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2.5rem; font-size: 1.2rem }
img { width: 100%; height: auto }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid #e3e8ee }
table.numbers { width: auto }
table.numbers td:last-child { font-variant-numeric: tabular-nums }
li { margin-bottom: .4rem }
.text { white-space: pre-wrap }
.end { color: #5b6775 }
"""


def report_page(
    title: str,
    metrics: dict[str, Any],
    history: list[dict[str, Any]],
    samples: list[str],
    reconstructions: list[tuple[str, str]],
    path: tuple[str, str, list[str]] | None,
) -> str:
    """The page.

    Args:
        title: of the run.
        metrics: of the best model.
        history: what the trainer has logged, in order.
        samples: texts from the prior.
        reconstructions: texts, each with its copy.
        path: two texts and the texts on the way between them, or None.
    """
    parts = [f"<h1>{html.escape(title)}</h1>"]
    panels = _panels(history)
    rates = metrics.get("rate_per_dimension") or []
    if panels or rates:
        image = _figure(panels, rates)
        parts += [f'<img alt="Curves of training" src="data:image/png;base64,{image}">']
    numbers = [(key, in_words(value)) for key, value in metrics.items() if value is not None]
    parts += [f"<h2>Measured on {metrics['split']}</h2>", _table(numbers, "numbers")]
    parts += ["<h2>Samples from the prior, unselected</h2>", _list(samples)]
    if reconstructions:
        parts += ["<h2>Reconstructions</h2>", _table([("text", "copy"), *reconstructions], "copies", header=True)]
    if path:
        a, b, texts = path
        parts += ["<h2>Interpolation</h2>", f'<p class="end">from: {_text(a)}<br>to: {_text(b)}</p>', _list(texts)]
    body = "\n".join(parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{_STYLE}</style>\n</head>\n'
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _panels(history: list[dict[str, Any]]) -> list[tuple[str, list, bool]]:
    """Title, lines (label, color, points) and whether the axis starts at zero, where there are numbers."""
    panels = []
    for title, train, validation in _PANELS:
        lines = [
            (label, color, [(row["step"], row[key]) for row in history if key in row])
            for label, color, key in (("training", _TRAIN, train), ("validation", _VALIDATION, validation))
        ]
        lines = [line for line in lines if line[2]]
        if lines:
            panels.append((title, lines, validation != "eval_nll"))
    return panels


def _figure(panels: list[tuple[str, list, bool]], rates: list[float]) -> str:
    """The panels, and a bar for each dimension, as a PNG in base64."""
    from matplotlib.figure import Figure

    count = len(panels) + bool(rates)
    columns = min(3, count)
    rows = -(-count // columns)
    width, height = 4.2 * columns, 3.0 * rows  # inches, as are the margins below
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(0.5 / width, 0.6 / height, 1 - 0.1 / width, 1 - 0.4 / height, wspace=0.15, hspace=0.5)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, (title, lines, from_zero) in zip(axes, panels, strict=False):
        for label, color, points in lines:
            ax.plot(*zip(*points, strict=True), color=color, label=label, marker="." if len(points) < 20 else None)
        ax.set(title=title, xlabel="step")
        if from_zero:
            ax.set_ylim(bottom=0)
        if len(lines) > 1:
            ax.legend(frameon=False)
    if rates:
        values = sorted(rates, reverse=True)
        axes[len(panels)].bar(range(1, len(values) + 1), values, color=_VALIDATION, width=0.9)
        axes[len(panels)].set(title="rate of each dimension, nats", xlabel="dimension, sorted")
    for ax in axes[:count]:
        ax.spines[["top", "right"]].set_visible(False)
        ax.title.set_fontsize("medium")
    for ax in axes[count:]:
        ax.remove()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=130)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _text(text: str) -> str:
    return f'<span class="text">{html.escape(text)}</span>'


def _list(texts: list[str]) -> str:
    return "<ol>\n" + "\n".join(f"<li>{_text(text)}</li>" for text in texts) + "\n</ol>"


def _table(rows: list[tuple[str, str]], kind: str, header: bool = False) -> str:
    cells = [
        "".join(f"<{cell}>{_text(value)}</{cell}>" for value in row)
        for cell, row in (("th" if header and number == 0 else "td", row) for number, row in enumerate(rows))
    ]
    return f'<table class="{kind}">\n' + "\n".join(f"<tr>{row}</tr>" for row in cells) + "\n</table>"
