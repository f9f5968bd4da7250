"""What a command line says on top of a recipe: `section.key=value`."""

from __future__ import annotations

import datetime
from typing import Any

import yaml

from textvae import registry
from textvae.validation import one_line

# What stands after these is taken as it is, and not read as YAML: a column may be called no, a revision 1234567.
VERBATIM = {
    *(f"data.{name}" for name in ("source", "config", "split", "revision", "text_column", "label_column")),
    *(f"model.{side}.{name}" for side in ("encoder", "decoder") for name in ("name", "revision")),
    *("tokenizer.path", "tokenizer.revision", "training.init_from", "training.run_name", "output_dir"),
}


def apply(values: dict[str, Any], override: str, named: set[str]) -> str:
    """Sets one key, in copies of the mappings on the way to it.

    With another kind, a part stands for itself: of what was said before, only what other overrides have named stays.

    Args:
        values: the sections.
        override: `section.key=value`.
        named: keys of the overrides before it.

    Returns:
        The key.

    Raises:
        ValueError: it does not read so, or the key lies below something that is no mapping.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ValueError(f"{override!r}: an override reads section.key=value, for instance training.max_steps=500")
    *path, last = key.split(".")
    place = values
    for depth, part in enumerate(path, 1):
        inner = place.get(part)
        if isinstance(inner, int | float) and path[:depth] == ["objective", "beta"]:
            # Short forms give way to what they stand for.
            inner = {"schedule": "constant", "max": inner}
        elif isinstance(inner, str) and path[0] == "model":
            inner = {"kind": inner}
        if not isinstance(inner, dict | None):
            raise ValueError(f"{key}: {'.'.join(path[:depth])} is {one_line(repr(inner), 80)}, which has no keys")
        place[part] = place = dict(inner or {})
    value = _value(text, key in VERBATIM)
    family, prefix = (path[-1], ".".join(path)) if path and last == "kind" else (None, "")
    # A whole part that an override has put there has nothing of the recipe's.
    default = registry.DEFAULT_KINDS.get(family)
    if default and place.get("kind", default) != value and prefix not in named:
        for name in [name for name in place if not _any_under(f"{prefix}.{name}", named)]:
            del place[name]
    place[last] = value
    return key


def _any_under(key: str, named: set[str]) -> bool:
    """Whether a key, or a key below it, is named."""
    return any(name == key or name.startswith(f"{key}.") for name in named)


def _value(text: str, verbatim: bool) -> Any:
    if text in ("", "null", "~"):
        return None
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    if isinstance(value, str) and text[0] in "\"'":
        return value
    # YAML would take a date for more than text, and drop what stands behind a #.
    return text if verbatim or isinstance(value, str | datetime.date) else value
