"""Walks from one text to another: python scripts/interpolate.py RUN "first text" "second text" --steps 7."""

import argparse

from textvae import TextVAE

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--method", choices=("slerp", "lerp"), default="slerp")
    args = parser.parse_args()
    try:
        path = TextVAE.from_pretrained(args.run).interpolate(args.a, args.b, args.steps, args.method)
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")
    print(f"from: {args.a}\nto:   {args.b}\n", *path, sep="\n")
