"""Pooling against values computed by hand; what stands in the padding must not matter."""

import math

import pytest
import torch

from textvae.encoders.pooling import Pooling, rotary_sum, sum_of_words
from textvae.layers.rotation import RotaryMemory, even, rotate

GARBAGE = 1e4
STATES = torch.tensor(
    [
        [[1.0, -2.0], [3.0, -4.0], [2.0, -6.0]],
        [[5.0, 1.0], [7.0, -3.0], [GARBAGE, GARBAGE]],
        [[-1.0, -8.0], [GARBAGE, -GARBAGE], [-GARBAGE, GARBAGE]],
    ]
)
MASK = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0]])
V, H = 200, 256  # of the sentences below


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


@pytest.mark.parametrize("kind", ["last", "mean", "max", "attention", "rotary"])
def test_no_gradient_reaches_the_padding(kind):
    states = STATES.clone().requires_grad_()
    Pooling(kind, 2)(states, MASK).sum().backward()
    assert (states.grad[MASK == 0] == 0).all()
    assert (states.grad[torch.arange(3), MASK.sum(1) - 1] != 0).any()


@pytest.fixture
def sentences():
    """The vectors of V words, the ids of 8 sentences of 3 to 10 tokens, and the mask."""
    torch.manual_seed(0)
    vectors = torch.randn(V, H)
    lengths = torch.arange(3, 11)
    ids = torch.randint(V, (len(lengths), 10))
    return vectors, ids, (torch.arange(10) < lengths[:, None]).long()


def test_a_sum_of_one_word_is_that_word_turned():
    words = torch.randn(1, 3, 8)
    first, third = torch.tensor([[1, 0, 0]]), torch.tensor([[1, 1, 1]])
    torch.testing.assert_close(rotary_sum(words, first), words[:, 0])
    by_hand = sum(rotate(words[:, i : i + 1], torch.tensor([i]), even(4))[:, 0] for i in range(3)) / 3**0.5
    torch.testing.assert_close(rotary_sum(words, third), by_hand)


def test_padding_has_no_say(sentences):
    vectors, ids, mask = sentences
    for of in (sum_of_words, rotary_sum):
        whole = of(vectors[ids], mask)
        for row, length in enumerate(mask.sum(1)):
            alone = of(vectors[ids[row : row + 1, :length]], mask[row : row + 1, :length])
            torch.testing.assert_close(whole[row], alone[0], rtol=1e-4, atol=1e-4)


def test_words_come_back_from_the_sum_by_their_places(sentences):
    """Read at each place, the nearest of 200 random vectors is the word of that place; a plain sum knows no places."""
    vectors, ids, mask = sentences
    memory = RotaryMemory(H, H)
    with torch.no_grad():
        memory.unfold.weight.copy_(torch.eye(H))
    for of, least, most in ((rotary_sum, 0.97, 1.0), (sum_of_words, 0.0, 0.2)):
        read = memory(of(vectors[ids], mask), 0, ids.shape[1]) @ vectors.T
        found = (read.argmax(-1) == ids)[mask.bool()].float().mean()
        assert least <= found <= most


def test_odd_sizes_are_refused():
    with pytest.raises(ValueError, match="states for rotary pooling must have an even size, to be turned in pairs; 7"):
        Pooling("rotary", 7)
