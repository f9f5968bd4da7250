"""Vectors turned by their place, and what a sum of them remembers."""

import math

import pytest
import torch

from textvae.layers.rotation import RotaryMemory, check_even, decaying, even, rotary_sum, rotate, sum_of_words

V, H = 200, 256


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def sentences():
    """Ids and words of 8 sentences of 3 to 10 tokens, and the mask."""
    vectors = torch.randn(V, H)
    lengths = torch.arange(3, 11)
    ids = torch.randint(V, (len(lengths), 10))
    return vectors, ids, (torch.arange(10) < lengths[:, None]).long()


@pytest.mark.parametrize("angles", [decaying, even])
def test_turning_keeps_lengths_and_leaves_place_zero(angles):
    x = torch.randn(3, 2, 6, 8)
    y = rotate(x, torch.arange(6), angles(4))
    torch.testing.assert_close(y.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(y[:, :, 0], x[:, :, 0])
    assert not torch.allclose(y[:, :, 1], x[:, :, 1])


@pytest.mark.parametrize("angles", [decaying, even])
def test_products_depend_on_the_distance_only(angles):
    query, key = torch.randn(1, 8), torch.randn(1, 8)

    def product(i, j):
        return (rotate(query, torch.tensor([i]), angles(4)) * rotate(key, torch.tensor([j]), angles(4))).sum()

    torch.testing.assert_close(product(7, 4), product(103, 100), rtol=1e-4, atol=1e-4)
    assert (product(7, 4) - product(7, 5)).abs() > 1e-2


def test_turning_there_and_back():
    x = torch.randn(2, 5, 8)
    places = torch.arange(5)
    torch.testing.assert_close(rotate(rotate(x, places, even(4)), -places, even(4)), x)


def test_angles():
    torch.testing.assert_close(decaying(4), torch.tensor([1, 0.1, 0.01, 0.001]))
    torch.testing.assert_close(even(4), math.pi * torch.tensor([1 / 8, 3 / 8, 5 / 8, 7 / 8]))


def test_even_angles_set_places_at_right_angles():
    """The product of a vector of ones with itself at another place is 0 for every distance below H."""
    x = torch.ones(1, 1, 16)
    turned = rotate(x, torch.arange(16), even(8))[0]
    torch.testing.assert_close(turned @ turned.T, 16 * torch.eye(16), rtol=0, atol=1e-4)


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


def test_reading_goes_on_where_it_stopped():
    memory, z = RotaryMemory(4, 8), torch.randn(3, 4)
    whole = memory(z, 1, 5)
    assert whole.shape == (3, 5, 8)
    torch.testing.assert_close(torch.cat([memory(z, 1, 2), memory(z, 3, 3)], 1), whole)


def test_odd_sizes_are_refused():
    check_even(8, "states")
    with pytest.raises(ValueError, match="states must have an even size, to be turned in pairs; 7 is odd"):
        check_even(7, "states")
