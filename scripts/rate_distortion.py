"""Sweeps the rate that is asked for and draws the frontier of rate and distortion.

    python scripts/rate_distortion.py headlines_gru_gru --output-dir runs/frontier --rates 0 4 8 16 32
    python scripts/rate_distortion.py ptb_lstm_lstm data.source=DIR --output-dir runs/frontier

One run a rate: the recipe with `objective: {kind: target_rate, rate: R, constraint: equal}`, or as a plain language
model where R is 0. Writes frontier.csv and frontier.png, measured on validation, and marks in both where a run did not
reach the rate within 5%. The same command goes on where it stopped.

Source: Alemi et al. 2018, arXiv 1711.00464.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import runs
from matplotlib.figure import Figure

COLUMNS = (
    "asked_rate",
    "rate",
    "reached",
    "distortion",
    "nll",
    "iw_nll",
    "iw_samples",
    "mutual_information",
    "mutual_information_cap",
    "active_units",
    "reconstruction_bleu",
    "minutes",
)


def measure(recipe: str, rate: float, changed: list[str], output: Path) -> dict:
    """Trains the run of one rate, as far as that is not done, and gives its row."""
    from textvae.objectives.target_rate import TOLERANCE  # here, since it takes longer than --help may

    own = f"objective={{kind: target_rate, rate: {rate:g}, constraint: equal}}" if rate else "model.latent.size=0"
    folder = output / f"rate-{rate:g}"
    runs.train(folder, recipe, [*changed, own])
    found = runs.figures(folder, "validation")
    found |= {"asked_rate": rate, "rate": found["rate"] or 0.0}
    found["reached"] = abs(found["rate"] - rate) <= TOLERANCE * rate
    return {name: found[name] for name in COLUMNS}


def refuse_own_objective(recipe: str, changed: list[str]) -> None:
    """Refuses a recipe whose last stage has an objective of its own, which would be trained with at every rate."""
    stages = runs.load(recipe, changed).training.get("stages") or [{}]
    if stages[-1].get("objective"):
        runs.refuse(
            f"training.stages: the last stage of {recipe} has an objective of its own, in whose place no rate can be "
            "asked for; remove objective from that stage"
        )


def draw(rows: list[dict]) -> Figure:
    """Distortion over rate, on lines of equal nll."""
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    ax = figure.subplots()
    rates, distortions = ([row[name] for row in rows] for name in ("rate", "distortion"))
    low, high = min(distortions), max(distortions)
    margin = 0.06 * max(high - low, 1.0)
    ax.set(xlim=(-0.03 * max(rates), 1.1 * max(*rates, 1.0)), ylim=(low - margin, high + 2 * margin))
    for nll in range(0, int(high + max(rates)) + 10, 5):
        ax.axline((0, nll), slope=-1, color="#d0d7de", linewidth=0.8, zorder=0)
    ax.plot(rates, distortions, color="#1f6feb")
    for row in rows:
        inside = "#1f6feb" if row["reached"] else "white"
        ax.plot(row["rate"], row["distortion"], "o", color="#1f6feb", markerfacecolor=inside)
        ax.annotate(
            f"nll {row['nll']:.1f}", (row["rate"], row["distortion"]), (6, 6), textcoords="offset points", fontsize=8
        )
    missed = "" if all(row["reached"] for row in rows) else "; hollow: not the rate that was asked for"
    ax.set_title(f"grey: lines of equal nll, 5 nats apart{missed}", fontsize="medium")
    ax.set(xlabel="rate, nats a text", ylabel="distortion, nats a text")
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Trains a run a rate; table and picture are written anew after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="file, or name in configs")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of every run")
    parser.add_argument("--rates", type=float, nargs="+", default=[0, 2, 4, 8, 16, 32], help="nats a text")
    parser.add_argument("--output-dir", type=Path, required=True, help="of the runs, the table and the picture")
    args = parser.parse_intermixed_args()
    if min(args.rates) < 0:
        parser.error(f"--rates: {min(args.rates):g} is not allowed; 0 or more")
    refuse_own_objective(args.recipe, args.overrides)
    rows = []
    for rate in sorted(set(args.rates)):
        rows.append(measure(args.recipe, rate, args.overrides, args.output_dir))
        with (args.output_dir / "frontier.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        draw(rows).savefig(args.output_dir / "frontier.png", dpi=120)
    print(f"\n{args.output_dir / 'frontier.csv'}, {args.output_dir / 'frontier.png'}")


if __name__ == "__main__":
    main()
