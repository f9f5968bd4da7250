"""The direction of dependencies, read from the import statements of the package.

validation, registry, outputs, configuration <- layers <- encoders, latent, decoders <- modeling
    <- inference, evaluation, training <- cli
"""

import ast
from pathlib import Path

import pytest

import textvae

PACKAGE = Path(textvae.__file__).parent
# Without the root, which offers the public names of all parts, imported when they are first asked for.
MODULES = sorted(set(PACKAGE.rglob("*.py")) - {PACKAGE / "__init__.py"})

BASE = {"validation", "registry", "outputs", "configuration"}
MODEL = BASE | {"layers", "encoders", "latent", "decoders", "modeling"}
# What a part of the package may import from other parts. A part that is not named may import all but cli.
ALLOWED = {
    "validation": set(),
    "outputs": set(),
    "registry": {"validation"},
    "configuration": {"registry", "validation", "outputs"},
    "overrides": {"registry", "validation"},
    "weights": {"validation"},
    "writing": set(),
    "freezing": set(),
    "layers": BASE | {"weights"},
    "encoders": BASE | {"layers"},
    "latent": BASE | {"layers", "writing", "freezing"},
    "decoders": BASE | {"layers"},
    "objectives": {"outputs", "latent", "registry", "validation", "freezing"},
    "modeling": MODEL,
    "hardware": set(),
    "tokenization": {"validation", "weights"},
    "data": {"validation", "tokenization", "writing"},
}
# What a part that is not named above may not import.
FORBIDDEN = {"inference": {"training", "objectives", "recipe"}, "evaluation": {"training", "objectives"}}


def part_of(name: str) -> str:
    """textvae.a.b -> a; a name that the root package itself offers -> __init__."""
    head = name.split(".")[1] if "." in name else "__init__"
    return head if (PACKAGE / head).is_dir() or (PACKAGE / f"{head}.py").exists() else "__init__"


def imported_parts(source: str, package: str) -> set[str]:
    """Parts of textvae that a module imports, at its top or inside of a function.

    Args:
        source: the module's text.
        package: dotted name of the package it lies in, which relative imports start from.
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [node.module])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return {part_of(name) for name in names if name == "textvae" or name.startswith("textvae.")}


def imports_of(path: Path) -> tuple[str, set[str]]:
    """The part that a file belongs to, and the other parts that it imports."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    part = part_of(".".join(parts))
    return part, imported_parts(path.read_text(encoding="utf-8"), ".".join(parts[:-1])) - {part}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports(path):
    part, imported = imports_of(path)
    if part not in ("cli", "__main__"):
        assert "cli" not in imported
    assert not imported & FORBIDDEN.get(part, set())
    if part in ALLOWED:
        assert imported <= ALLOWED[part]


def test_every_rule_is_about_a_part_that_exists():
    assert ALLOWED.keys() | FORBIDDEN.keys() <= {imports_of(path)[0] for path in MODULES}


@pytest.mark.parametrize(
    ("source", "package", "expected"),
    [
        ("import os, json\nfrom torch import nn", "textvae", set()),
        ("import textvae.cli.main", "textvae.data", {"cli"}),
        ("import textvae", "textvae.data", {"__init__"}),
        ("from textvae import registry", "textvae.encoders", {"registry"}),
        ("from textvae import TextVAE", "textvae.encoders", {"__init__"}),
        ("from textvae.decoders.base import Decoder", "textvae.encoders", {"decoders"}),
        ("from ..decoders import base", "textvae.encoders", {"decoders"}),
        ("from .. import modeling", "textvae.encoders", {"modeling"}),
        ("from .pooling import Pooling", "textvae.encoders", {"encoders"}),
        ("from . import registry", "textvae", {"registry"}),
        ("def f():\n    from textvae.training import ema", "textvae.inference", {"training"}),
        ("if x:\n    import textvae.layers.attention as a", "textvae.encoders", {"layers"}),
    ],
)
def test_the_reader_of_imports(source, package, expected):
    assert imported_parts(source, package) == expected
