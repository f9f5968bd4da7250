"""Vectors turned by their places."""

import math

import pytest
import torch

from textvae.layers.rotation import RotaryMemory, decaying, even, rotate


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


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


def test_reading_goes_on_where_it_stopped():
    memory, z = RotaryMemory(4, 8), torch.randn(3, 4)
    whole = memory(z, 1, 5)
    assert whole.shape == (3, 5, 8)
    torch.testing.assert_close(torch.cat([memory(z, 1, 2), memory(z, 3, 3)], 1), whole)
