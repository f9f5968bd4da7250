"""Paths between latent vectors."""

import math

import pytest
import torch

from textvae.inference.geometry import lerp, path, slerp

T = torch.linspace(0, 1, 9)


def pair(dimensions=16, scale=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, dimensions, generator=generator)
    return a, scale * b


@pytest.mark.parametrize("method", [lerp, slerp])
@pytest.mark.parametrize("seed", range(5))
def test_ends(method, seed):
    a, b = pair(seed=seed)
    points = method(a, b, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(points, torch.stack([a, b]))


def test_lerp_is_the_straight_line():
    a, b = torch.tensor([0.0, 2.0]), torch.tensor([4.0, -2.0])
    expected = torch.tensor([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0], [3.0, -1.0], [4.0, -2.0]])
    torch.testing.assert_close(lerp(a, b, torch.linspace(0, 1, 5)), expected)


def test_slerp_on_a_circle():
    """A quarter turn from length 1 to length 3: at each third, 30 degrees and 2/3 of length more."""
    points = slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0]), torch.linspace(0, 1, 4))
    angles = torch.tensor([0, 30, 60, 90]) * math.pi / 180
    expected = torch.tensor([1, 5 / 3, 7 / 3, 3])[:, None] * torch.stack([angles.cos(), angles.sin()], 1)
    torch.testing.assert_close(points, expected)


@pytest.mark.parametrize("dimensions", [2, 3, 64])
def test_slerp_norms_and_angles_go_in_equal_steps(dimensions):
    a, b = pair(dimensions)
    points = slerp(a, b, T)
    torch.testing.assert_close(points.norm(dim=1), torch.lerp(a.norm(), b.norm(), T))
    steps = torch.cosine_similarity(points[1:], points[:-1], dim=1)
    whole = torch.cosine_similarity(a, b, dim=0).arccos()
    torch.testing.assert_close(steps.arccos(), torch.full((8,), float(whole) / 8), atol=1e-3, rtol=0)


def test_slerp_keeps_the_norm_where_lerp_loses_it():
    """What slerp is for: the middle of two vectors at a right angle is not shorter than they are."""
    a, b = torch.eye(2)
    assert slerp(a, b, torch.tensor([0.5])).norm() == pytest.approx(1.0)
    assert lerp(a, b, torch.tensor([0.5])).norm() == pytest.approx(0.5**0.5)


@pytest.mark.parametrize("angle", [1e-5, 3e-4, 2e-3, 1.0, math.pi - 2e-3])
def test_slerp_near_its_limits(angle):
    """Nearly parallel and nearly opposite: the norm stays linear and all is finite."""
    a = torch.tensor([2.0, 0.0, 0.0])
    b = 5 * torch.tensor([math.cos(angle), math.sin(angle), 0.0])
    torch.testing.assert_close(
        slerp(a, b, T).norm(dim=1), torch.lerp(torch.tensor(2.0), torch.tensor(5.0), T), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1.0, 2.0], [3.0, 6.0]),
        ([1.0, 2.0], [1.0, 2.0]),
        ([0.0, 0.0], [1.0, 2.0]),
        ([1.0, 2.0], [0.0, 0.0]),
        ([0.0, 0.0], [0.0, 0.0]),
        ([2.0], [5.0]),
        ([2.0], [-5.0]),
    ],
)
def test_slerp_falls_back_to_the_straight_line(a, b):
    """Parallel, equal, zero and one-dimensional vectors have no arc."""
    a, b = torch.tensor(a), torch.tensor(b)
    torch.testing.assert_close(slerp(a, b, T), lerp(a, b, T))


@pytest.mark.parametrize("a", [[1.0, 0.0], [0.6, -0.8], [0.0, 0.0, 1.0], [2.0, -1.0, 2.0, 4.0]])
@pytest.mark.parametrize("off", [0.0, 1e-7, 5e-4])
def test_slerp_between_opposites_goes_along_an_arc(a, off):
    a = torch.tensor(a)
    b = -2 * a + off * torch.eye(len(a))[0]
    points = slerp(a, b, T)
    torch.testing.assert_close(points.norm(dim=1), a.norm() * (1 + T), rtol=1e-3, atol=0)
    steps = torch.cosine_similarity(points[1:], points[:-1], dim=1).arccos()
    torch.testing.assert_close(steps, torch.full((8,), math.pi / 8), atol=2e-3, rtol=0)
    torch.testing.assert_close(points[[0, -1]], torch.stack([a, b]), atol=5e-3, rtol=0)
    ends = a / a.norm(), -a / a.norm()
    torch.testing.assert_close(path(*ends, 7, on_sphere=True).norm(dim=1), torch.ones(7))
    with pytest.raises(ValueError, match="nearly 0 and has no direction on the sphere"):
        path(*ends, 7, "lerp", on_sphere=True)


def test_a_straight_line_is_brought_to_the_sphere():
    a, b = (x / x.norm() for x in pair())
    inside, on_it = path(a, b, 7, "lerp"), path(a, b, 7, "lerp", on_sphere=True)
    assert (inside[1:-1].norm(dim=1) < 0.99).any()
    torch.testing.assert_close(on_it.norm(dim=1), torch.ones(7))
    torch.testing.assert_close(torch.cosine_similarity(inside, on_it, dim=1), torch.ones(7))


def test_slerp_does_not_depend_on_the_direction_of_travel():
    a, b = pair()
    torch.testing.assert_close(slerp(a, b, T), slerp(b, a, T).flip(0))


@pytest.mark.parametrize("method", ["slerp", "lerp"])
@pytest.mark.parametrize("steps", [2, 3, 7])
def test_path_has_exact_ends(method, steps):
    a, b = pair(seed=steps)
    points = path(a, b, steps, method)
    assert points.shape == (steps, 16)
    assert torch.equal(points[0], a)
    assert torch.equal(points[-1], b)
    torch.testing.assert_close(points, {"slerp": slerp, "lerp": lerp}[method](a, b, torch.linspace(0, 1, steps)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 1}, "steps: 1 is too few; a path has at least its 2 ends"),
        ({"steps": 0}, "steps: 0 is too few"),
        ({"method": "arc"}, "method: 'arc' is not known; known: lerp, slerp"),
        ({"b": torch.zeros(3)}, r"the ends have shapes \(2,\) and \(3,\)"),
        ({"a": torch.zeros(1, 2), "b": torch.zeros(1, 2)}, r"shapes \(1, 2\) and \(1, 2\); both must be \(D,\)"),
    ],
)
def test_path_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        path(**{"a": torch.zeros(2), "b": torch.ones(2), "steps": 3} | arguments)
