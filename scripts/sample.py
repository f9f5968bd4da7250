"""Samples texts from the prior of a run: python scripts/sample.py RUN --number 20."""

import argparse

from textvae import TextVAE

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--number", type=int, default=8)
    parser.add_argument("--z-scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int)
    args = parser.parse_args()
    try:
        texts = TextVAE.from_pretrained(args.run).sample(args.number, z_scale=args.z_scale, seed=args.seed)
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")
    print(*texts, sep="\n\n" if any("\n" in text for text in texts) else "\n")
