"""What a user reads when a value is wrong: one line with the key, the value and what is allowed."""

from typing import Literal

import pytest
from pydantic import Field, field_validator, model_validator

from textvae.validation import Section, parse_section, suggest


class Inner(Section):
    """A section inside of another."""

    rate: float = Field(0.1, ge=0, lt=1)


class Outer(Section):
    """One field of each sort."""

    count: int = Field(1, ge=1)
    ratio: float = 0.5
    kind: Literal["gru", "lstm"] = "gru"
    flag: bool = False
    path: str | None = None
    pair: tuple[Literal["a", "b"], ...] = ("a",)
    inner: Inner = Inner()
    limit: int | None = Field(None, ge=1)
    either: int | str = 1
    needed: int

    @field_validator("pair")
    @classmethod
    def _not_empty(cls, value):
        if not value:
            raise ValueError("Name at least one")
        return value

    @model_validator(mode="after")
    def _sum(self):
        if self.count + self.needed > 100:
            raise ValueError(f"count {self.count} and needed {self.needed} are more than 100")
        return self


def message(values):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - callers compare the message
        parse_section(Outer, values, "model.outer")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"cuont": 3}, "model.outer.cuont: unknown key; did you mean 'count'? known: "),
        ({"inner": {"rat": 3}}, "model.outer.inner.rat: unknown key; did you mean 'rate'? known: rate"),
        ({"zzzzzz": 3}, "model.outer.zzzzzz: unknown key; known: count, either, flag, "),
        ({3: 3}, "model.outer.3: unknown key; known: "),
        ({"count": 0}, "model.outer.count: 0 is not allowed; input should be greater than or equal to 1"),
        ({"count": "many"}, "model.outer.count: 'many' is not allowed; input should be a valid integer"),
        ({"count": 2.5}, "model.outer.count: 2.5 is not allowed; "),
        ({"count": True}, "model.outer.count: True is not allowed; input should be a number"),
        ({"limit": True}, "model.outer.limit: True is not allowed; input should be a number"),
        ({"limit": 0}, "model.outer.limit: 0 is not allowed; "),
        ({"ratio": float("nan")}, "model.outer.ratio: nan is not allowed; "),
        ({"ratio": float("inf")}, "model.outer.ratio: inf is not allowed; "),
        ({"kind": "gruu"}, "model.outer.kind: 'gruu' is not allowed; input should be 'gru' or 'lstm'"),
        ({"flag": "maybe"}, "model.outer.flag: 'maybe' is not allowed; input should be a valid boolean"),
        ({"path": 3}, "model.outer.path: 3 is not allowed; input should be a valid string"),
        ({"pair": ["a", "c"]}, "model.outer.pair.1: 'c' is not allowed; input should be 'a' or 'b'"),
        ({"pair": []}, "model.outer.pair: [] is not allowed; name at least one"),
        ({"inner": 3}, "model.outer.inner: 3 is not allowed; input should be a mapping of keys to values"),
        ({"inner": {"rate": 1}}, "model.outer.inner.rate: 1 is not allowed; input should be less than 1"),
        ({"either": [1]}, "model.outer.either: [1] is not allowed; input should be a valid integer or "),
        ({"count": 60, "needed": 60}, "model.outer: count 60 and needed 60 are more than 100"),
    ],
)
def test_messages(values, expected):
    assert message({"needed": 1} | values).startswith(expected)


def test_a_missing_key():
    assert message({}) == "model.outer.needed: this key is required"


@pytest.mark.parametrize("values", [None, 3, "text", ["count"]])
def test_not_a_mapping(values):
    assert message(values) == f"model.outer: {values!r} is not a mapping of keys to values"


def test_a_long_value_is_cut():
    assert len(message({"needed": 1, "count": "x" * 10_000})) < 400


def test_numbers_written_as_text_are_understood():
    """YAML reads 1e-3 as a string."""
    section = parse_section(Outer, {"needed": "7", "ratio": "1e-3"}, "model.outer")
    assert (section.needed, section.ratio) == (7, 0.001)


def test_a_finished_section_passes_and_cannot_be_changed():
    section = parse_section(Outer, {"needed": 7}, "model.outer")
    assert parse_section(Outer, section, "model.outer") is section
    with pytest.raises(ValueError, match="frozen"):
        section.needed = 8


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("gruu", ["lstm", "gru"], "did you mean 'gru'? known: gru, lstm"),
        ("zzz", ["lstm", "gru"], "known: gru, lstm"),
        ("x", [], "known: none"),
        (3, ["3d"], "did you mean '3d'? known: 3d"),
    ],
)
def test_suggest(name, known, expected):
    assert suggest(name, known) == expected


def test_suggest_cuts_a_long_list():
    known = [f"name_{number}" for number in range(100)]
    assert suggest("name_7", known).startswith("did you mean 'name_7'? known: ")
    assert suggest("name_7", known).endswith("more")
    assert len(suggest("name_7", known)) < 120
