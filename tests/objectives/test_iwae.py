"""The doubly reparameterised gradient, in a model of one dimension: z ~ N(0,1), x given z ~ N(w z, 1)."""

import math

import numpy as np
import pytest
import torch

from textvae import registry
from textvae.latent import DiagonalGaussian
from textvae.outputs import TextVAEOutput

X, COPIES = 1.5, 200_000
START = {"mu": -0.5, "logvar": 0.4, "w": 0.8}


def log_normal(x, mean, logvar):
    return -0.5 * (math.log(2 * math.pi) + logvar + (x - mean) ** 2 * (-logvar).exp())


def exact_gradient(samples):
    """Of the negative bound, by Gauss-Hermite quadrature over the noise of one or two samples."""
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(60))
    weights = weights / weights.sum()
    leaf = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in START.items()}
    z = leaf["mu"] + (0.5 * leaf["logvar"]).exp() * nodes
    zero = torch.zeros((), dtype=torch.float64)
    log_weight = log_normal(z, zero, zero) + log_normal(X, leaf["w"] * z, zero)
    log_weight = log_weight - log_normal(z, leaf["mu"], leaf["logvar"])
    if samples == 1:
        bound = (weights * log_weight).sum()
    else:
        both = torch.logaddexp(log_weight[:, None], log_weight) - math.log(2)
        bound = (weights[:, None] * weights * both).sum()
    (-bound).backward()
    return {name: float(value.grad) for name, value in leaf.items()}, -bound.item()


def estimates(samples, start=START, generator=None):
    """Loss and gradient of copies of one sentence, each with parameters of its own."""
    leaf = {name: torch.full((COPIES, 1), value, requires_grad=True) for name, value in start.items()}
    q = DiagonalGaussian(leaf["mu"], leaf["logvar"])
    z = q.rsample(samples, torch.Generator().manual_seed(0))
    zero = torch.zeros(())
    output = TextVAEOutput(
        q=q,
        z=z,
        log_q=q.log_prob(z),
        log_p=log_normal(z, zero, zero).sum(-1),
        distortion=-log_normal(X, leaf["w"] * z, zero).sum(-1),
    )
    result = registry.build("objective", {"kind": "iwae", "num_samples": samples})(output, 0.0)
    result.loss.backward()
    return {name: value.grad[:, 0] * COPIES for name, value in leaf.items()}, result.loss.item()


@pytest.mark.parametrize("samples", [1, 2])
def test_gradient_has_the_right_mean(samples):
    """With one sample that is the gradient of the negative ELBO."""
    gradient, loss = estimates(samples)
    exact, bound = exact_gradient(samples)
    assert loss == pytest.approx(bound, abs=0.01)
    for name, values in gradient.items():
        error = float(values.std()) / COPIES**0.5
        assert float(values.mean()) == pytest.approx(exact[name], abs=4 * error), name
        assert error < 0.01


@pytest.mark.parametrize("samples", [1, 4])
def test_no_gradient_and_no_noise_at_the_true_posterior(samples):
    """All weights are alike there, whatever z: the plain estimate would still be noisy."""
    w = START["w"]
    start = {"mu": w * X / (1 + w**2), "logvar": -math.log(1 + w**2), "w": w}
    gradient, loss = estimates(samples, start)
    assert loss == pytest.approx(0.5 * (math.log(2 * math.pi * (1 + w**2)) + X**2 / (1 + w**2)), abs=1e-4)
    assert gradient["mu"].abs().max() < 1e-4
    assert gradient["logvar"].abs().max() < 1e-4
    assert gradient["w"].std() > 0.1
