"""The weights of a model in a file, each tensor once."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from textvae.modeling import TextVAEModel


def save_weights(model: TextVAEModel, path: Path) -> None:
    """Writes the weights that a saved model has; those that are one tensor (tied ones) under the first name alone."""
    left_out = model.left_out
    kept = {_place(name, value): (name, value) for name, value in reversed(model.state_dict().items())}
    save_file({name: value.contiguous() for name, value in kept.values() if name not in left_out}, path)


def load_weights(model: TextVAEModel, path: Path) -> None:
    """Gives a model the weights that `save_weights` wrote of one with the same configuration.

    Raises:
        ValueError: the file lacks some.
    """
    given, own, left_out = load_file(path), model.state_dict(), model.left_out
    places = {_place(name, own[name]) for name in given if name in own}
    for name, value in own.items():
        if _place(name, value) not in places and name not in left_out:
            raise ValueError(f"{path}: the weights lack {name}")
    unknown = model.load_state_dict(given, strict=False).unexpected_keys
    if unknown:
        raise ValueError(f"{path}: the model has no {unknown[0]}")


def _place(name: str, value: Tensor) -> object:
    """The same for names of the same tensor."""
    return (value.data_ptr(), value.shape) if value.numel() else name
