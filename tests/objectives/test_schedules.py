"""Schedules of beta as tables of values."""

import math

import pytest

from textvae.objectives.schedules import BetaConfig, beta_at, warmed_up

KINDS = ("constant", "linear", "logistic", "cosine", "cyclical")
RISING = ("linear", "logistic", "cosine")
GRID = [step / 1000 for step in range(1001)]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


LOGISTIC_QUARTER = (sigmoid(-2.5) - sigmoid(-5)) / (sigmoid(5) - sigmoid(-5))


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        ("constant", {0: 1, 0.3: 1, 1: 1}),
        ("linear", {0: 0, 0.1: 0.2, 0.125: 0.25, 0.25: 0.5, 0.5: 1, 0.7: 1, 1: 1}),
        ("cosine", {0: 0, 0.125: (2 - 2**0.5) / 4, 0.25: 0.5, 0.375: (2 + 2**0.5) / 4, 0.5: 1, 1: 1}),
        ("logistic", {0: 0, 0.125: LOGISTIC_QUARTER, 0.25: 0.5, 0.375: 1 - LOGISTIC_QUARTER, 0.5: 1, 1: 1}),
        (
            "cyclical",  # four cycles of 0.25, of which the first half rises
            {0: 0, 0.0625: 0.5, 0.125: 1, 0.2: 1, 0.25: 0, 0.28125: 0.25, 0.375: 1, 0.5: 0, 0.75: 0, 0.99: 1, 1: 1},
        ),
    ],
)
def test_table(kind, table):
    config = BetaConfig(schedule=kind, warmup=0.5)
    assert {p: beta_at(config, p) for p in table} == pytest.approx(table, abs=1e-12)


@pytest.mark.parametrize("kind", RISING)
@pytest.mark.parametrize("warmup", [0.3, 0.5, 1.0])
def test_monotone_between_exact_ends(kind, warmup):
    config = BetaConfig(schedule=kind, warmup=warmup, min=0.2, max=0.7)
    values = [beta_at(config, p) for p in GRID]
    assert values == sorted(values)
    assert values[0] == 0.2
    assert values[-1] == beta_at(config, warmup) == pytest.approx(0.7, abs=1e-15)


def test_cyclical_rises_in_each_cycle_and_starts_again():
    config = BetaConfig(schedule="cyclical", warmup=1.0, cycles=5, min=0.1, max=0.9)
    values = [beta_at(config, p) for p in GRID]
    falls = [index for index in range(1, 1001) if values[index] < values[index - 1]]
    assert falls == [200, 400, 600, 800]
    assert all(values[index] == pytest.approx(0.1, abs=1e-9) for index in [0, *falls])
    assert values[-1] == pytest.approx(0.9)


@pytest.mark.parametrize("kind", KINDS)
def test_no_warmup_means_the_maximum_at_once(kind):
    config = BetaConfig(schedule=kind, warmup=0.0, max=0.4)
    assert {beta_at(config, p) for p in GRID} == {0.4}
    assert warmed_up(config, 0.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("cycles", [1, 3, 4])
def test_warmed_up_exactly_when_beta_stays_at_its_maximum(kind, warmup, cycles):
    config = BetaConfig(schedule=kind, warmup=warmup, cycles=cycles, max=0.8)
    grid = [0.0, *(p + 0.0005 for p in GRID[:-1]), 1.0]  # off the round numbers, where rounding decides
    values = [beta_at(config, p) for p in grid]
    for index, p in enumerate(grid):
        stays = min(values[index:]) == pytest.approx(0.8, abs=1e-9)
        assert warmed_up(config, p) == stays, p


@pytest.mark.parametrize("kind", KINDS)
def test_a_maximum_of_zero_is_zero_throughout(kind):
    assert {beta_at(BetaConfig(schedule=kind, max=0.0), p) for p in GRID} == {0.0}
