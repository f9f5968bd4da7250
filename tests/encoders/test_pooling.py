"""Pooling against values computed by hand; what stands in the padding must not matter."""

import math

import pytest
import torch

from textvae.encoders.pooling import Pooling

GARBAGE = 1e4
STATES = torch.tensor(
    [
        [[1.0, -2.0], [3.0, -4.0], [2.0, -6.0]],
        [[5.0, 1.0], [7.0, -3.0], [GARBAGE, GARBAGE]],
        [[-1.0, -8.0], [GARBAGE, -GARBAGE], [-GARBAGE, GARBAGE]],
    ]
)
MASK = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("first", [[1.0, -2.0], [5.0, 1.0], [-1.0, -8.0]]),
        ("last", [[2.0, -6.0], [7.0, -3.0], [-1.0, -8.0]]),
        ("mean", [[2.0, -4.0], [6.0, -1.0], [-1.0, -8.0]]),
        ("max", [[3.0, -2.0], [7.0, 1.0], [-1.0, -8.0]]),
        # One pair of features, a quarter turn a place: (a, b), (-b, a), (-a, -b).
        ("rotary", [[3 / 3**0.5, 7 / 3**0.5], [8 / 2**0.5, 8 / 2**0.5], [-1.0, -8.0]]),
    ],
)
def test_values(kind, expected):
    torch.testing.assert_close(Pooling(kind, 2)(STATES, MASK), torch.tensor(expected))


def test_attention_values():
    """Scores of log 2 and 0 weigh two tokens as 2 to 1."""
    pooling = Pooling("attention", 2)
    with torch.no_grad():
        pooling.score.weight.copy_(torch.tensor([[0.5 * math.log(2), 0.0]]))
    expected = [(2 * torch.tensor([7.0, -3.0]) + torch.tensor([5.0, 1.0])) / 3, torch.tensor([-1.0, -8.0])]
    torch.testing.assert_close(pooling(STATES[1:], MASK[1:]), torch.stack(expected))


def test_attention_with_equal_scores_is_the_mean():
    pooling = Pooling("attention", 2)
    torch.nn.init.zeros_(pooling.score.weight)
    torch.testing.assert_close(pooling(STATES, MASK), Pooling("mean", 2)(STATES, MASK))


@pytest.mark.parametrize("kind", ["last", "mean", "max", "attention"])
def test_no_gradient_reaches_the_padding(kind):
    states = STATES.clone().requires_grad_()
    Pooling(kind, 2)(states, MASK).sum().backward()
    assert (states.grad[MASK == 0] == 0).all()
    assert (states.grad[torch.arange(3), MASK.sum(1) - 1] != 0).any()
