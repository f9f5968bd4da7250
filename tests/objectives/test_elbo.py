"""The negative ELBO: what it adds up, and what it says about itself."""

import pytest
import torch

from textvae import registry
from textvae.latent import DiagonalGaussian
from textvae.outputs import TextVAEOutput

RATE = torch.tensor([[1.0, 2.0], [0.5, 0.1], [0.3, 3.0]])  # (B,D): 3.0, 0.6, 3.3, mean 2.3
DISTORTION = torch.tensor([[40.0, 10.0, 30.0], [42.0, 14.0, 20.0]])  # (S,B), mean 26


def make_output():
    rate, q = RATE.clone().requires_grad_(), DiagonalGaussian(RATE, RATE)
    return TextVAEOutput(q=q, distortion=DISTORTION.clone(), rate=rate.sum(1), rate_per_dimension=rate), rate


def loss(progress=1.0, **config):
    return registry.build("objective", {"kind": "elbo", **config})(make_output()[0], progress).loss.item()


@pytest.mark.parametrize(
    ("config", "progress", "expected"),
    [
        ({"beta": 1.0}, 0.0, 26 + 2.3),
        ({"beta": 0.5}, 0.0, 26 + 0.5 * 2.3),
        ({"beta": 0}, 1.0, 26),
        ({"beta": {"schedule": "linear", "warmup": 0.4}}, 0.0, 26),
        ({"beta": {"schedule": "linear", "warmup": 0.4}}, 0.1, 26 + 0.25 * 2.3),
        ({"beta": {"schedule": "linear", "warmup": 0.4, "max": 2.0}}, 0.8, 26 + 2 * 2.3),
        ({"beta": 1.0, "free_bits": 5.0}, 0.0, 26 + 5.0),
        ({"beta": 0.5, "free_bits": 5.0}, 0.0, 26 + 0.5 * 5.0),
        ({"beta": 1.0, "free_bits": 3.2, "free_bits_over": "sentence"}, 0.0, 26 + (3.2 + 3.2 + 3.3) / 3),
        ({"beta": 1.0, "free_bits": 2.0, "free_bits_per": "dimension"}, 0.0, 26 + 1.0 + 1.7),
    ],
)
def test_values(config, progress, expected):
    assert loss(progress, **config) == pytest.approx(expected, rel=1e-6)


def test_beta_zero_gives_a_loss_without_rate():
    output, rate = make_output()
    output.distortion.requires_grad_()
    result = registry.build("objective", {"kind": "elbo", "beta": 0})(output, 0.5)
    result.loss.backward()
    assert result.beta == 0
    assert rate.grad is None
    assert (output.distortion.grad == 1 / 6).all()


def test_beta_scales_the_gradient_of_the_rate_and_nothing_else():
    output, rate = make_output()
    output.distortion.requires_grad_()
    registry.build("objective", {"kind": "elbo", "beta": 0.25})(output, 0.5).loss.backward()
    torch.testing.assert_close(rate.grad, torch.full_like(rate, 0.25 / 3))
    torch.testing.assert_close(output.distortion.grad, torch.full_like(DISTORTION, 1 / 6))


@pytest.mark.parametrize(("beta", "expected"), [(0, "distortion"), (0.1, "nll"), ({"max": 0.0}, "distortion")])
def test_selects_by(beta, expected):
    assert registry.build("objective", {"kind": "elbo", "beta": beta}).selects_by == expected


def test_warmed_up_and_number_of_samples():
    objective = registry.build("objective", {"kind": "elbo", "beta": {"warmup": 0.4}, "num_samples": 3})
    assert [objective.warmed_up(p) for p in (0.0, 0.39, 0.4, 1.0)] == [False, False, True, True]
    assert objective.num_samples == 3
    assert not objective.state_dict()


def test_per_dimension_free_bits_need_a_rate_that_factorises():
    output, _ = make_output()
    output.rate_per_dimension = None
    config = {"kind": "elbo", "beta": 1, "free_bits": 2.0, "free_bits_per": "dimension"}
    with pytest.raises(ValueError, match="choose total"):
        registry.build("objective", config)(output, 1.0)
