"""The registry: finding, refusing, suggesting; and no key of any part that no code reads."""

import inspect
import re
import sys

import pytest
from pydantic import Field

from tests.contract import kinds_of_the_package
from textvae import registry
from textvae.validation import Section

FAMILIES = ("encoder", "decoder", "posterior", "prior", "objective")


class ToyConfig(Section):
    """A part's configuration."""

    size: int = Field(3, ge=1)
    name: str = "toy"


@pytest.fixture
def toy(monkeypatch):
    """An encoder of kind `toy`, registered for one test."""
    monkeypatch.setitem(registry._PARTS, "encoder", dict(registry._PARTS["encoder"]))

    @registry.register("encoder", "toy", ToyConfig)
    class Toy:
        def __init__(self, config, *parts):
            self.config, self.parts = config, parts

    return Toy


@pytest.mark.parametrize(
    ("family", "known"),
    [
        ("encoder", {"recurrent", "transformer"}),
        ("decoder", {"recurrent", "transformer"}),
        ("posterior", {"gaussian"}),
        ("prior", {"standard"}),
        ("objective", {"elbo"}),
    ],
)
def test_kinds(family, known):
    assert known <= set(registry.kinds(family))
    assert registry.kinds(family) == sorted(registry.kinds(family))


def test_a_new_part_is_found_and_built(toy):
    assert "toy" in registry.kinds("encoder")
    part = registry.build("encoder", {"kind": "toy", "size": 5}, "a", "b")
    assert isinstance(part, toy)
    assert part.config == ToyConfig(size=5)
    assert part.parts == ("a", "b")


def test_resolve_fills_in_defaults_and_leaves_its_input_alone(toy):
    values = {"kind": "toy", "size": 5}
    assert registry.resolve("encoder", values, "model.encoder") == {"kind": "toy", "size": 5, "name": "toy"}
    assert values == {"kind": "toy", "size": 5}
    assert registry.resolve("encoder", "toy", "model.encoder") == {"kind": "toy", "size": 3, "name": "toy"}
    assert registry.resolve("encoder", {}, "model.encoder", default="toy")["kind"] == "toy"


@pytest.mark.parametrize("family", FAMILIES)
def test_resolving_twice_changes_nothing(family):
    for kind in kinds_of_the_package(family):
        once = registry.resolve(family, kind, family)
        assert registry.resolve(family, once, family) == once


def test_duplicate(toy):
    with pytest.raises(ValueError, match="encoder 'toy' is registered already"):
        registry.register("encoder", "toy", ToyConfig)


def test_unknown_family():
    with pytest.raises(ValueError, match="unknown family 'encodr'; did you mean 'encoder'"):
        registry.register("encodr", "toy", ToyConfig)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("toi", "model.encoder.kind: unknown encoder 'toi'; did you mean 'toy'? known: pretrained, recurrent, toy"),
        ({"kind": "zzz"}, "model.encoder.kind: unknown encoder 'zzz'; known: pretrained, recurrent, toy, transformer"),
        ({"kind": ["toy"]}, "model.encoder.kind: unknown encoder ['toy']; "),
        ({"size": 3}, "model.encoder.kind: this key is required; known: pretrained, recurrent, toy, transformer"),
        ({"kind": "toy", "sise": 3}, "model.encoder.sise: unknown key; did you mean 'size'? known: name, size"),
        ({"kind": "toy", "size": 0}, "model.encoder.size: 0 is not allowed; "),
        (7, "model.encoder: 7 is not a mapping of keys to values"),
    ],
)
def test_messages(toy, values, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is compared below
        registry.parse("encoder", values, "model.encoder")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_key_is_read_by_the_part_it_belongs_to(family):
    for kind in kinds_of_the_package(family):
        part, config_class = registry._PARTS[family][kind]
        modules = [sys.modules[cls.__module__] for cls in part.__mro__ if cls.__module__.startswith("textvae.")]
        source = "\n".join(inspect.getsource(module) for module in modules)
        unread = [key for key in config_class.model_fields if not re.search(rf"\bconfig\.{key}\b", source)]
        assert not unread, f"{family} {kind}"
