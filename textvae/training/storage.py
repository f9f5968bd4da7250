"""The weights of a model in a file, each tensor once."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn


def save_weights(model: nn.Module, path: Path) -> None:
    """Writes all weights; of those that are one tensor under several names (tied ones) the first name alone."""
    kept: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if not any(_same(value, other) for other in kept.values()):
            kept[name] = value
    save_file({name: value.contiguous() for name, value in kept.items()}, path)


def load_weights(model: nn.Module, path: Path) -> None:
    """Gives a model the weights that `save_weights` wrote of one with the same configuration.

    Raises:
        ValueError: the file lacks some.
    """
    given, own = load_file(path), model.state_dict()
    model.load_state_dict(given, strict=False)
    lacking = [
        name
        for name, value in own.items()
        if name not in given and not any(_same(value, own[other]) for other in given if other in own)
    ]
    if lacking:
        raise ValueError(f"{path}: the weights lack {lacking[0]}")


def _same(a: Tensor, b: Tensor) -> bool:
    return a.data_ptr() == b.data_ptr() and a.shape == b.shape and a.numel() > 0
