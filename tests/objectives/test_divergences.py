"""The maximum mean discrepancy against closed forms."""

import math

import pytest
import torch

from textvae.objectives.divergences import kernel, mmd

D = 3


def expected_kernel(kind, mean, variance):
    """E k(a, b) for a - b normal with a mean and the same variance in each dimension.

    The inverse multiquadratic is a mixture of Gaussian kernels: C / (C + r) = integral of exp(-t) exp(-t r / C) dt.
    """
    t = torch.ones(1) if kind == "gaussian" else (torch.arange(60_000) + 0.5) * 5e-4
    a = t.double() / (2 * D)
    value = (1 + 2 * a * variance) ** (-D / 2) * (-a * (mean**2).sum() / (1 + 2 * a * variance)).exp()
    return float(value) if kind == "gaussian" else float((value * (-t.double()).exp()).sum() * 5e-4)


@pytest.mark.parametrize("kind", ["imq", "gaussian"])
@pytest.mark.parametrize("n", [2, 20])
def test_unbiased(kind, n):
    """N(m, s^2) against N(0, 1): the mean of many estimates, also from two samples a side."""
    generator = torch.Generator().manual_seed(0)
    m, s, repeats = torch.tensor([1.0, -0.5, 0.0]), 0.6, 20_000 // n
    estimates = torch.stack(
        [
            mmd(
                m + s * torch.randn(n, D, generator=generator, dtype=torch.float64),
                torch.randn(n, D, generator=generator, dtype=torch.float64),
                kind,
                2 * D,
            )
            for _ in range(repeats)
        ]
    )
    zero = torch.zeros(D)
    exact = expected_kernel(kind, zero, 2 * s**2) + expected_kernel(kind, zero, 2.0)
    exact -= 2 * expected_kernel(kind, m, s**2 + 1)
    assert exact > 0.05
    assert abs(estimates.mean() - exact) < 4 * estimates.std() / math.sqrt(repeats)


@pytest.mark.parametrize(("kind", "expected"), [("imq", 4 / (4 + 5)), ("gaussian", math.exp(-5 / 4))])
def test_kernel(kind, expected):
    a, b = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    torch.testing.assert_close(kernel(a, b, kind, 4.0), torch.tensor([[expected], [1.0]]))


@pytest.mark.parametrize("kind", ["imq", "gaussian"])
def test_gradient_where_samples_coincide(kind):
    a = torch.zeros(3, D, requires_grad=True)
    mmd(a, torch.ones(3, D), kind, 2 * D).backward()
    assert a.grad.isfinite().all()
    assert (a.grad < 0).all()  # towards the other samples
