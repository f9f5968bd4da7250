"""Draws what tells a healthy posterior from a collapsed one: python scripts/draw_collapse.py RUN... --output FILE.png.

Reads what training leaves in each run folder: logs/history.jsonl and doctor.json.
"""

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure

COLORS = ("#1f6feb", "#d9822b", "#8b949e", "#2da44e")


def draw(runs: list[Path]) -> Figure:
    """Three panels with a line a run: rate while training, Var(mu) of each dimension, gain from z by position."""
    figure = Figure(figsize=(9.6, 2.9), layout="constrained")
    rate, variance, gain = figure.subplots(1, 3)
    for run, color in zip(runs, COLORS, strict=False):
        history = [json.loads(line) for line in (run / "logs" / "history.jsonl").read_text().splitlines()]
        found = json.loads((run / "doctor.json").read_text())
        points = [(row["step"], row["eval_rate"]) for row in history if "eval_rate" in row]
        style = {"color": color, "label": run.name, "marker": ".", "markersize": 4}
        rate.plot(*zip(*points, strict=True), **style)
        values = sorted(found["mu_variance_per_dimension"], reverse=True)
        variance.plot(range(1, len(values) + 1), [max(value, 1e-7) for value in values], **style)
        gains = found["z_gain_by_position"]
        gain.plot(range(1, len(gains) + 1), gains, **style)
    rate.set(title="rate, nats a text", xlabel="step", ylim=(0, None))
    variance.set(title="variance of mu over texts", xlabel="dimension, sorted", yscale="log")
    variance.axhline(0.01, color="#1c2733", linewidth=0.8, linestyle=":")
    gain.set(title="gain from z, nats a token", xlabel="position of the token")
    rate.legend(frameon=False)
    for ax in (rate, variance, gain):
        ax.spines[["top", "right"]].set_visible(False)
        ax.title.set_fontsize("medium")
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    if len(args.runs) > len(COLORS):
        parser.error(f"RUN: {len(args.runs)} runs are too many; up to {len(COLORS)} can be told apart")
    for run in args.runs:
        if not (run / "doctor.json").is_file():
            parser.error(f"RUN: {run} has no doctor.json: it is no finished run of a VAE")
    draw(args.runs).savefig(args.output, dpi=100)
