"""Turns what pydantic finds wrong into one line: which key, which value, what is allowed, and the nearest known key."""

from __future__ import annotations

import difflib
import typing
from typing import Any, TypeVar

import pydantic


class Section(pydantic.BaseModel):
    """A part of the configuration: immutable; unknown keys, booleans for numbers, nan and infinity are errors."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        if isinstance(value, bool):
            members = _members(cls.model_fields[info.field_name].annotation)
            if members & {int, float} and bool not in members:
                raise ValueError("input should be a number")
        return value


S = TypeVar("S", bound=pydantic.BaseModel)


def one_line(message: object, limit: int = 300) -> str:
    """A message without line ends, and cut where it is longer than `limit` characters."""
    line = " ".join(part.strip() for part in str(message).splitlines() if part.strip())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def suggest(name: object, known: list[str], limit: int = 24) -> str:
    """Words for an unknown name: the nearest known one, and what else there is.

    Args:
        name: what was asked for.
        known: what exists.
        limit: the longest list that is given whole; of a longer one, the names most like `name`.

    Returns:
        A phrase such as "did you mean 'gru'? known: gru, lstm".
    """
    near = difflib.get_close_matches(str(name), known, n=5, cutoff=0.4)
    alike = near and difflib.SequenceMatcher(None, near[0], str(name)).ratio() >= 0.6
    hint = f"did you mean {near[0]!r}? " if alike else ""
    shown = sorted(known) if len(known) <= limit else near or sorted(known)[:5]
    more = f" and {len(known) - len(shown)} more" if len(known) > len(shown) else ""
    return f"{hint}known: {', '.join(shown) or 'none'}{more}"


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
        raise ValueError(f"{where}: {one_line(repr(values), 80)} is not a mapping of keys to values")
    for key in values:
        if not isinstance(key, str):
            raise ValueError(f"{where}.{one_line(key)}: unknown key; {suggest(key, list(cls.model_fields))}")
    try:
        return cls.model_validate(values)
    except pydantic.ValidationError as error:
        raise ValueError(one_line(describe(error, cls, where), 600)) from None


def describe(error: pydantic.ValidationError, cls: type[pydantic.BaseModel], where: str) -> str:
    """One line for the first problem that pydantic found.

    Args:
        error: what pydantic raised.
        cls: the class it raised it for.
        where: dotted path of that class in the recipe.
    """
    problems = error.errors(include_url=False)
    first = problems[0]
    path, known = _locate(cls, first)
    key = ".".join([where, *path])
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown key; {suggest(path[-1], known)}"
    if first["type"] == "missing":
        return f"{key}: this key is required"
    # A value that fits no member of a union has a problem for each.
    messages = dict.fromkeys(_message(problem) for problem in problems if _locate(cls, problem)[0] == path)
    message = one_line(" or ".join(messages))
    if first["type"] == "value_error":
        if message.startswith(key):
            # A part inside of this one has named its own place.
            return message
        if isinstance(first["input"], dict):
            return f"{key}: {message}"
    return f"{key}: {one_line(repr(first['input']), 80)} is not allowed; {message}"


def _message(problem: dict[str, Any]) -> str:
    if problem["type"] in ("dict_type", "model_type"):
        return "input should be a mapping of keys to values"
    if problem["type"] in ("list_type", "tuple_type"):
        return "input should be a list"
    message = problem["msg"].removeprefix("Value error, ")
    return message[0].lower() + message[1:]


def _locate(cls: type[pydantic.BaseModel], problem: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The path of a problem as the user wrote it, and the keys known where it ends."""
    section, path, known = cls, [], []
    for part in problem["loc"]:
        fields = section.model_fields if section else {}
        if part in fields:
            section = _section_in(fields[part].annotation)
        elif not isinstance(part, int) and problem["type"] != "extra_forbidden":
            # pydantic's name for a member of a union, or for a validator.
            continue
        path.append(str(part))
        known = list(fields)
    return path, known


def _section_in(annotation: Any) -> type[pydantic.BaseModel] | None:
    """The first section that an annotation is made of, also inside of a list."""
    parts = typing.get_args(annotation)
    if parts:
        return next(filter(None, map(_section_in, parts)), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel) else None


def _members(annotation: Any) -> set[Any]:
    """The types that an annotation is made of at its top: the members of a union, or itself."""
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, type(int | str)):
        return set().union(*map(_members, parts))
    return {annotation}
