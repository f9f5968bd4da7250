"""Trains as a recipe says: python scripts/train.py configs/headlines_gru_gru.yaml training.max_steps=500."""

import argparse
import logging

from textvae import load_recipe, train

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--overwrite", action="store_true")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        run = train(load_recipe(args.config, args.overrides), args.resume, args.overwrite)
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")
    print(*(f"{key}: {value}" for key, value in run.metrics.items()), f"run: {run.folder}", sep="\n")
