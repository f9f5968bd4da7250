"""Free bits against values computed by hand."""

import pytest
import torch

from textvae.objectives.constraints import free_bits_penalty

PER_DIMENSION = torch.tensor([[0.1, 2.0], [0.5, 0.4], [0.3, 3.0]])  # rates 2.1, 0.9 and 3.3; means 0.3 and 1.8
MODES = [(per, over) for per in ("total", "dimension") for over in ("batch", "sentence")]


@pytest.mark.parametrize(
    ("per", "over", "free_bits", "expected"),
    [
        ("total", "batch", 2.0, 2.1),
        ("total", "batch", 4.0, 4.0),
        ("total", "sentence", 2.0, (2.1 + 2.0 + 3.3) / 3),
        ("total", "sentence", 4.0, 4.0),
        ("dimension", "batch", 2.0, 1.0 + 1.8),
        ("dimension", "batch", 0.8, 0.4 + 1.8),
        ("dimension", "sentence", 2.0, ((1 + 2) + (1 + 1) + (1 + 3)) / 3),
        ("dimension", "sentence", 0.8, ((0.4 + 2) + (0.5 + 0.4) + (0.4 + 3)) / 3),
    ],
)
def test_values(per, over, free_bits, expected):
    charged = free_bits_penalty(PER_DIMENSION.sum(1), PER_DIMENSION, free_bits, per, over)
    assert charged.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("per", "over", "pushed"),
    [
        ("total", "batch", [[1, 1], [1, 1], [1, 1]]),
        ("total", "sentence", [[1, 1], [0, 0], [1, 1]]),
        ("dimension", "batch", [[0, 1], [0, 1], [0, 1]]),
        ("dimension", "sentence", [[0, 1], [0, 0], [0, 1]]),
    ],
)
def test_no_gradient_below_the_floor(per, over, pushed):
    terms = PER_DIMENSION.clone().requires_grad_()
    free_bits_penalty(terms.sum(1), terms, 2.0, per, over).backward()
    torch.testing.assert_close(terms.grad, torch.tensor(pushed) / 3)


@pytest.mark.parametrize(("per", "over"), MODES)
def test_no_gradient_at_all_when_everything_is_below(per, over):
    terms = PER_DIMENSION.clone().requires_grad_()
    free_bits_penalty(terms.sum(1), terms, 20.0, per, over).backward()
    assert not terms.grad.any()


@pytest.mark.parametrize(("per", "over"), MODES)
def test_turned_off_it_is_the_mean_rate(per, over):
    rate = PER_DIMENSION.sum(1)
    torch.testing.assert_close(free_bits_penalty(rate, PER_DIMENSION, 0.0, per, over), rate.mean())
    torch.testing.assert_close(free_bits_penalty(rate, None, 0.0, per, over), rate.mean())
    # An estimate from samples may be below 0.
    torch.testing.assert_close(free_bits_penalty(rate - 9, None, 0.0, per, over), rate.mean() - 9)


@pytest.mark.parametrize("over", ["batch", "sentence"])
def test_a_rate_that_does_not_factorise(over):
    rate = PER_DIMENSION.sum(1)
    with pytest.raises(ValueError, match=r"free_bits_per: 'dimension' needs a rate that factorises.*choose total"):
        free_bits_penalty(rate, None, 2.0, "dimension", over)
    assert free_bits_penalty(rate, None, 4.0, "total", over).item() == pytest.approx(4.0)
