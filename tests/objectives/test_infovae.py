"""InfoVAE: what it adds up."""

import pytest
import torch

from tests.objectives.test_contract import make_output
from textvae import registry
from textvae.latent import DiagonalGaussian, VonMisesFisher
from textvae.objectives.divergences import mmd
from textvae.outputs import TextVAEOutput


def build(**config):
    return registry.build("objective", {"kind": "infovae", **config}, 4)


@pytest.mark.parametrize(
    ("alpha", "mmd_weight", "rate_weight", "discrepancy_weight"), [(1.0, 50.0, 0, 50.0), (0.25, 3.0, 0.75, 2.25)]
)
@pytest.mark.parametrize("kernel", ["imq", "gaussian"])
def test_value(alpha, mmd_weight, rate_weight, discrepancy_weight, kernel):
    output = make_output(1)
    torch.manual_seed(3)
    discrepancy = mmd(output.z[0], output.sample_prior(6), kernel, 2 * output.z.shape[2])
    torch.manual_seed(3)
    result = build(alpha=alpha, mmd_weight=mmd_weight, kernel=kernel)(output, 0.0)
    expected = output.distortion.mean() + rate_weight * output.rate.mean() + discrepancy_weight * discrepancy
    torch.testing.assert_close(result.loss, expected)
    assert result.logs["mmd"] == discrepancy
    assert result.beta == rate_weight


@pytest.mark.parametrize("kernel", ["imq", "gaussian"])
def test_brings_the_aggregated_posterior_to_the_prior(kernel):
    """Points that start as N(1, 0.2^2), with nothing else to lose."""
    torch.manual_seed(0)
    objective, mu = build(kernel=kernel), (1 + 0.2 * torch.randn(256, 4)).requires_grad_()
    optimizer = torch.optim.Adam([mu], 0.03)
    for _ in range(400):
        q = DiagonalGaussian(mu, torch.full_like(mu, -4.0))
        output = TextVAEOutput(
            q=q,
            z=q.rsample(1),
            distortion=torch.zeros(1, 256),
            rate=torch.zeros(256),
            sample_prior=lambda n: torch.randn(n, 4),
        )
        objective(output, 0.0).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert mu.mean(0).abs().max() < 0.15
    assert (mu.std(0) - 1).abs().max() < 0.2


@pytest.mark.parametrize("kernel", ["imq", "gaussian"])
def test_on_the_sphere_points_spread_over_it(kernel):
    """From a cap of it, of which two points are about 0.3 apart, to all of it."""
    torch.manual_seed(0)
    objective = build(kernel=kernel)

    def on_sphere(x):
        return torch.nn.functional.normalize(x, dim=-1)

    points = (torch.tensor([1.0, 0.0, 0.0]) + 0.2 * torch.randn(256, 3)).requires_grad_()
    optimizer = torch.optim.Adam([points], 0.03)
    for step in range(400):
        z = on_sphere(points)
        output = TextVAEOutput(
            q=VonMisesFisher(z, 40.0),
            z=z[None],
            distortion=torch.zeros(1, 256),
            rate=torch.zeros(256),
            sample_prior=lambda n: on_sphere(torch.randn(n, 3)),
        )
        torch.manual_seed(step)
        discrepancy = mmd(z, output.sample_prior(256), kernel, 2.0)  # two draws from the prior are 2 apart, squared
        torch.manual_seed(step)
        result = objective(output, 0.0)
        torch.testing.assert_close(result.logs["mmd"], discrepancy.detach())
        result.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    z = on_sphere(points.detach())
    assert z.mean(0).norm() < 0.1
    assert (z.var(0) - 1 / 3).abs().max() < 0.05


def test_one_sentence_has_no_discrepancy():
    """The last batch of an epoch may be that small."""
    output = make_output(1)
    output.z, output.distortion = output.z[:, :1], output.distortion[:, :1]
    result = build()(output, 0.0)
    torch.testing.assert_close(result.loss, output.distortion.mean())
    assert result.logs == {}


@pytest.mark.parametrize(("alpha", "expected"), [(1.0, "distortion"), (0.9, "nll")])
def test_selects_by(alpha, expected):
    assert build(alpha=alpha).selects_by == expected
