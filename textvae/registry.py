"""The one registry: every encoder, decoder, posterior, prior and objective, by family and kind.

A part registers its class with the class of its configuration:

    @register("encoder", "recurrent", RecurrentEncoderConfig)
    class RecurrentEncoder(nn.Module): ...

and a recipe names it by `kind`. Families are imported when they are first asked for, so that reading a
configuration class costs no import of torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

from textvae.validation import Section, parse_section, suggest

_PACKAGES = {
    "encoder": "textvae.encoders",
    "decoder": "textvae.decoders",
    "posterior": "textvae.latent",
    "prior": "textvae.latent",
    "objective": "textvae.objectives",
}
# The kind of a part of which nothing is said.
DEFAULT_KINDS = {
    "encoder": "recurrent",
    "decoder": "recurrent",
    "posterior": "gaussian",
    "prior": "standard",
    "objective": "elbo",
}
_PARTS: dict[str, dict[str, tuple[type, type[Section]]]] = {family: {} for family in _PACKAGES}

C = TypeVar("C", bound=type)


def register(family: str, kind: str, config_class: type[Section]) -> Callable[[C], C]:
    """Class decorator that makes a part known by its kind, and writes that on it.

    Args:
        family: encoder, decoder, posterior, prior or objective.
        kind: the name that recipes use.
        config_class: the part's configuration, with all keys but `kind`.

    Raises:
        ValueError: the kind is taken, or the family is unknown.
    """
    if family not in _PARTS:
        raise ValueError(f"unknown family {family!r}; {suggest(family, list(_PARTS))}")
    if kind in _PARTS[family]:
        raise ValueError(f"{family} {kind!r} is registered already")

    def add(cls: C) -> C:
        cls.kind = kind
        _PARTS[family][kind] = (cls, config_class)
        return cls

    return add


def part(family: str, kind: str) -> type:
    """The class registered for a kind that is known."""
    importlib.import_module(_PACKAGES[family])
    return _PARTS[family][kind][0]


def config_class(family: str, kind: str) -> type[Section]:
    """The class of the configuration of a kind that is known."""
    importlib.import_module(_PACKAGES[family])
    return _PARTS[family][kind][1]


def kinds(family: str) -> list[str]:
    """The kinds that a family knows, sorted."""
    importlib.import_module(_PACKAGES[family])
    return sorted(_PARTS[family])


def parse(family: str, values: str | dict[str, Any], where: str, default: str | None = None) -> tuple[str, Section]:
    """Validates the configuration of one part.

    Args:
        family: encoder, decoder, posterior, prior or objective.
        values: a kind, or a mapping with `kind` and the part's own keys.
        where: dotted path in the recipe, for messages.
        default: the kind when `values` names none.

    Returns:
        The kind and the validated configuration.

    Raises:
        ValueError: unknown kind, unknown key, wrong type, value out of range.
    """
    values = {"kind": values} if isinstance(values, str) else values
    if not isinstance(values, dict):
        raise ValueError(f"{where}: {values!r} is not a mapping of keys to values")
    values = dict(values)
    kind = values.pop("kind", default)
    known = kinds(family)
    if kind is None:
        raise ValueError(f"{where}.kind: this key is required; known: {', '.join(known)}")
    if kind not in known:
        raise ValueError(f"{where}.kind: unknown {family} {kind!r}; {suggest(kind, known)}")
    return kind, parse_section(_PARTS[family][kind][1], values, where)


def resolve(family: str, values: str | dict[str, Any], where: str, default: str | None = None) -> dict[str, Any]:
    """The same as `parse`, as a plain dict with every default filled in."""
    kind, config = parse(family, values, where, default)
    return {"kind": kind, **config.model_dump()}


def build(family: str, values: str | dict[str, Any], *parts: Any, default: str | None = None) -> Any:
    """Builds a part: its class called with its configuration and `parts`."""
    kind, config = parse(family, values, family, default)
    return _PARTS[family][kind][0](config, *parts)
