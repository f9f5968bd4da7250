"""Measures a run and prints its metrics as JSON: python scripts/evaluate.py RUN --split test --samples 500."""

import argparse
import json
from pathlib import Path

from textvae import evaluate_run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--samples", type=int, default=500)
    args = parser.parse_args()
    try:
        metrics, _, _ = evaluate_run(args.run, args.split, args.samples, args.overrides)
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")
    print(json.dumps(metrics, indent=2, ensure_ascii=False))
