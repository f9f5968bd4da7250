"""The weights of a model in a file, each tensor once."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn


def save_weights(model: nn.Module, path: Path, without: Set[str] = frozenset()) -> None:
    """Writes all weights; of those that are one tensor under several names (tied ones) the first name alone.

    Args:
        model: whose weights they are.
        path: of the file.
        without: names of weights that are to be had elsewhere.
    """
    kept = {_place(name, value): (name, value) for name, value in reversed(model.state_dict().items())}
    save_file({name: value.contiguous() for name, value in kept.values() if name not in without}, path)


def load_weights(model: nn.Module, path: Path, without: Set[str] = frozenset()) -> None:
    """Gives a model the weights that `save_weights` wrote of one with the same configuration.

    Args:
        model: it is changed.
        path: of the file.
        without: names of weights that it has already.

    Raises:
        ValueError: the file lacks some.
    """
    given, own = load_file(path), model.state_dict()
    places = {_place(name, own[name]) for name in given if name in own}
    for name, value in own.items():
        if _place(name, value) not in places and name not in without:
            raise ValueError(f"{path}: the weights lack {name}")
    unknown = model.load_state_dict(given, strict=False).unexpected_keys
    if unknown:
        raise ValueError(f"{path}: the model has no {unknown[0]}")


def _place(name: str, value: Tensor) -> object:
    """The same for names of the same tensor."""
    return (value.data_ptr(), value.shape) if value.numel() else name
