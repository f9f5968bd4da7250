"""Turns what pydantic finds wrong into one line: which key, which value, what is allowed, and the nearest known key."""

from __future__ import annotations

import difflib
from typing import Any, TypeVar

import pydantic


class Section(pydantic.BaseModel):
    """A part of the configuration: immutable, and unknown keys are errors."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_default=True)


S = TypeVar("S", bound=pydantic.BaseModel)


def suggest(name: str, known: list[str]) -> str:
    """Words for an unknown name: the nearest known one, and the whole list.

    Args:
        name: what was asked for.
        known: what exists.

    Returns:
        A phrase such as "did you mean 'gru'? Known: gru, lstm".
    """
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}known: {', '.join(sorted(known))}"


def parse_section(cls: type[S], values: Any, where: str) -> S:
    """Builds a configuration section from plain values.

    Args:
        cls: the section's class.
        values: a mapping of key to value.
        where: dotted path of the section, used in messages.

    Returns:
        The validated section.

    Raises:
        ValueError: one line that names the key, the value and what is allowed.
    """
    if isinstance(values, cls):
        return values
    if not isinstance(values, dict):
        raise ValueError(f"{where}: {values!r} is not a mapping of keys to values")
    try:
        return cls.model_validate(values)
    except pydantic.ValidationError as error:
        raise ValueError(describe(error, cls, where)) from None


def describe(error: pydantic.ValidationError, cls: type[pydantic.BaseModel], where: str) -> str:
    """One line for the first problem that pydantic found.

    Args:
        error: what pydantic raised.
        cls: the class it raised it for.
        where: dotted path of that class in the recipe.
    """
    first = error.errors()[0]
    path = [str(part) for part in first["loc"] if not str(part).startswith(("function-", "literal[", "constrained-"))]
    key = ".".join([where, *path] if where else path)
    if first["type"] == "extra_forbidden":
        fields = _fields_at(cls, path[:-1])
        return f"{key}: unknown key; {suggest(path[-1], fields)}"
    if first["type"] == "missing":
        return f"{key}: this key is required"
    message = first["msg"].removeprefix("Value error, ")
    if key and message.startswith(key):
        return message  # a part of the registry has said which key it is
    message = message[0].lower() + message[1:]
    if isinstance(first["input"], dict) and first["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key}: {first['input']!r} is not allowed; {message}"


def _fields_at(cls: type[pydantic.BaseModel], path: list[str]) -> list[str]:
    for part in path:
        if part not in cls.model_fields:
            break
        annotation = cls.model_fields[part].annotation
        if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
            cls = annotation
    return list(cls.model_fields)
