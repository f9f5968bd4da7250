"""Distributions on the sphere: normalisers, laws of the samples, rates and gradients."""

import math

import mpmath
import pytest
import torch
import torch.nn.functional as F

from textvae import registry
from textvae.latent import PowerSpherical, VonMisesFisher, kl
from textvae.latent.sphere import log_area
from textvae.latent.von_mises_fisher import log_bessel

CASES = [(2, 0.5), (2, 300.0), (3, 4.0), (8, 1.0), (32, 80.0), (32, 20_000.0), (768, 500.0)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make(kind, dimensions, kappa, copies=1):
    mu = F.normalize(torch.randn(1, dimensions, generator=generator(1)), dim=-1).expand(copies, -1)
    return VonMisesFisher(mu, kappa) if kind == "vmf" else PowerSpherical(mu, torch.full((copies,), kappa))


def law_of_the_angle(kind, dimensions, kappa):
    """Angles to mu and their log-density up to a constant, on a grid that holds all but nothing of the mass."""
    angle = torch.linspace(0, min(math.pi, 20 * (dimensions / kappa) ** 0.5), 200_001, dtype=torch.float64)[1:-1]
    half = torch.sin(angle / 2) ** 2  # (1 - cos) / 2
    log_density = -2 * kappa * half if kind == "vmf" else kappa * torch.log1p(-half)
    return angle, log_density + (dimensions - 2) * torch.sin(angle).log()


@pytest.mark.parametrize("order", [0.0, 0.5, 15.0, 31.5, 383.0, 3000.0])
@pytest.mark.parametrize("x", [1e-3, 1.0, 80.0, 1e4, 1e6])
def test_log_bessel(order, x):
    with mpmath.workdps(40):
        expected = float(mpmath.log(mpmath.besseli(order, x)))
    assert log_bessel(order, x) == pytest.approx(expected, rel=1e-12, abs=1e-8)


def test_log_area():
    assert [math.exp(log_area(d)) for d in (2, 3, 4)] == pytest.approx([2 * math.pi, 4 * math.pi, 2 * math.pi**2])


def test_von_mises_fisher_in_three_dimensions():
    """There the normaliser is elementary: kappa / (4 pi sinh kappa)."""
    q = make("vmf", 3, 4.0)
    assert q.log_normaliser == pytest.approx(math.log(4 / (4 * math.pi * math.sinh(4))))


@pytest.mark.parametrize("kind", ["vmf", "power_spherical"])
@pytest.mark.parametrize(("dimensions", "kappa"), CASES)
def test_rate_by_integration(kind, dimensions, kappa):
    """KL to the uniform sphere, from the law of the angle alone."""
    angle, log_density = law_of_the_angle(kind, dimensions, kappa)
    log_uniform = (dimensions - 2) * torch.sin(angle).log()
    area_below = log_area(dimensions - 1) if dimensions > 2 else math.log(2)
    log_total = log_density.logsumexp(0) + math.log(angle[1] - angle[0])
    p = (log_density - log_total).exp() * (angle[1] - angle[0])
    expected = float((p * (log_density - log_total - log_uniform)).sum()) + log_area(dimensions) - area_below
    q, prior = make(kind, dimensions, kappa), registry.build("prior", "uniform", dimensions)
    rate, per_dimension = kl(q, prior, torch.zeros(1, 1), torch.zeros(1, 1))
    assert per_dimension is None
    assert float(rate) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("kind", ["vmf", "power_spherical"])
@pytest.mark.parametrize(("dimensions", "kappa"), CASES)
def test_samples_have_the_law(kind, dimensions, kappa):
    """Kolmogorov-Smirnov of the angle to mu (at 0.1%), and no preferred direction around mu."""
    n = 4000
    q = make(kind, dimensions, kappa)
    z = q.rsample(n, generator(2))[:, 0]
    torch.testing.assert_close(z.norm(dim=1), torch.ones(n), rtol=0, atol=1e-5)
    angle, log_density = law_of_the_angle(kind, dimensions, kappa)
    cumulative = (log_density - log_density.logsumexp(0)).exp().cumsum(0)
    drawn = (2 * torch.asin((z - q.mu).norm(dim=1).double() / 2)).sort().values
    place = torch.searchsorted(angle, drawn).clamp_max(len(angle) - 1)
    distance = (cumulative[place] - (torch.arange(n) + 0.5) / n).abs().max()
    assert distance < 1.95 / n**0.5
    around = z - (z * q.mu).sum(1, keepdim=True) * q.mu
    assert ((around.mean(0)).abs() < 5 * around.std(0) / n**0.5 + 1e-6).all()


@pytest.mark.parametrize("kind", ["vmf", "power_spherical"])
def test_gradient_of_expectations_by_finite_differences(kind):
    """On the circle E f(z) is an integral; its slope in the direction (and the concentration) is the samples'."""
    n, angle = 200_000, torch.arange(2000, dtype=torch.float64) * (2 * math.pi / 2000)
    circle = torch.stack([angle.cos(), angle.sin()], 1)

    def f(z):
        return z[..., 0] ** 3 + 2 * z[..., 0] * z[..., 1] + z[..., 1]

    def q_at(direction, kappa):
        mu = torch.stack([direction.cos(), direction.sin()])[None]
        return VonMisesFisher(mu, 3.0) if kind == "vmf" else PowerSpherical(mu, kappa[None])

    def integral(direction, kappa):
        q = q_at(torch.tensor(direction, dtype=torch.float64), torch.tensor(kappa, dtype=torch.float64))
        return float((q.log_prob(circle[:, None])[:, 0].exp() * f(circle)).sum() * 2 * math.pi / 2000)

    direction, kappa = torch.full((n,), 0.7, requires_grad=True), torch.full((n,), 3.0, requires_grad=True)
    mu = torch.stack([direction.cos(), direction.sin()], 1)
    q = VonMisesFisher(mu, 3.0) if kind == "vmf" else PowerSpherical(mu, kappa)
    f(q.rsample(1, generator(3))[0]).sum().backward()
    slopes = [(direction.grad, (integral(0.7 + 1e-4, 3.0) - integral(0.7 - 1e-4, 3.0)) / 2e-4)]
    if kind == "power_spherical":
        slopes.append((kappa.grad, (integral(0.7, 3.0 + 1e-4) - integral(0.7, 3.0 - 1e-4)) / 2e-4))
    for by_sample, exact in slopes:
        assert abs(exact) > 0.02
        assert float(by_sample.mean()) == pytest.approx(exact, abs=5 * float(by_sample.std()) / n**0.5)


@pytest.mark.parametrize("kind", ["vmf", "power_spherical"])
def test_gradient_of_expectations_in_many_dimensions(kind):
    """E a.z = A(kappa) a.m/|m|, whose gradient in m is known once A is."""
    n, d, kappa = 40_000, 12, 15.0
    m = torch.randn(d, generator=generator(4))
    a = torch.randn(d, generator=generator(5))
    unit = F.normalize(m, dim=0)
    if kind == "vmf":
        factor = math.exp(log_bessel(d / 2, kappa) - log_bessel(d / 2 - 1, kappa))
    else:
        factor = kappa / (kappa + d - 1)
    rows = m.expand(n, d).clone().requires_grad_()
    mu = F.normalize(rows, dim=1)
    q = VonMisesFisher(mu, kappa) if kind == "vmf" else PowerSpherical(mu, torch.full((n,), kappa))
    (q.rsample(1, generator(6))[0] @ a).sum().backward()
    exact = factor * (a - (a @ unit) * unit) / m.norm()
    assert ((rows.grad.mean(0) - exact).abs() < 5 * rows.grad.std(0) / n**0.5).all()


def test_uniform_samples():
    z = registry.build("prior", "uniform", 5).sample(20_000, generator())
    torch.testing.assert_close(z.mean(0), torch.zeros(5), rtol=0, atol=0.02)
    torch.testing.assert_close(z.T.cov(), torch.eye(5) / 5, rtol=0, atol=0.01)


def test_density_has_digits_where_it_is_sharp():
    """At a concentration of a million, float32 still tells the density at mu and at one deviation from it."""
    q = make("vmf", 32, 1e6)
    z = q.rsample(2000, generator())
    quadratic = 0.5 * 1e6 * (z - q.mu).square().sum(-1)
    torch.testing.assert_close(q.log_prob(q.mu[None]) - q.log_prob(z), quadratic, rtol=0.01, atol=0.01)
    assert float(quadratic.mean()) == pytest.approx(15.5, rel=0.05)  # 31 directions, half a nat each


@pytest.mark.parametrize("kappa", [0.5, 1e3, 1e6])
def test_power_spherical_density_has_digits(kappa):
    """Also far from mu, where it is flat enough to be there at all."""
    q = make("power_spherical", 32, kappa)
    z = torch.cat([q.rsample(500, generator()), F.normalize(torch.randn(50, 1, 32, generator=generator(2)), dim=-1)])
    cosine = 1 - 0.5 * (z.double() - q.mu.double()).square().sum(-1)
    exact = q.log_normaliser + kappa * torch.log1p(cosine)
    torch.testing.assert_close(q.log_prob(z).double(), exact, rtol=1e-5, atol=0.01)
