"""BN-VAE: mu has the deviation gamma over the batch, and the running one in evaluation."""

import pytest
import torch

from textvae import registry
from textvae.latent import kl_to_standard_normal
from textvae.training.ema import WeightAverage

GAMMA, H, D = 0.6, 6, 4


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = registry.build("posterior", {"kind": "gaussian", "batch_norm": GAMMA}, H, D)
    with torch.no_grad():
        head.shift.copy_(torch.tensor([0.0, 1.0, -2.0, 0.5]))
    return head


def summaries(n, seed=1):
    return 3 * torch.randn(n, H, generator=torch.Generator().manual_seed(seed)) + 1


def test_over_the_batch(head):
    mu = head(summaries(50)).mu
    torch.testing.assert_close(mu.std(0, correction=0), torch.full((D,), GAMMA), rtol=1e-3, atol=0)
    torch.testing.assert_close(mu.mean(0), head.shift)


def test_the_rate_has_a_floor(head):
    """Each dimension, on average over the batch: at least gamma^2 / 2, whatever the weights."""
    assert (kl_to_standard_normal(head(summaries(50))).mean(0) > 0.999 * GAMMA**2 / 2).all()


def test_gamma_is_not_learned(head):
    assert {name for name, _ in head.named_parameters()} == {
        "mu.weight",
        "mu.bias",
        "logvar.weight",
        "logvar.bias",
        "shift",
    }


def test_evaluation_takes_the_running_statistics(head):
    """After many batches they are those of the population, and a text's mu does not depend on its batch."""
    with torch.no_grad():
        for seed in range(200):
            head(summaries(100, seed))
        mu = head.eval()(summaries(20_000, 999)).mu
        torch.testing.assert_close(mu.std(0), torch.full((D,), GAMMA), rtol=0.05, atol=0)
        torch.testing.assert_close(head(summaries(20_000, 999)[:3]).mu, mu[:3])


def test_a_batch_of_one_text_in_training(head):
    head(summaries(100))
    counted = head.norm.running_mean.clone()
    one = head(summaries(1, 5)).mu
    assert torch.equal(head.norm.running_mean, counted)
    torch.testing.assert_close(one, head.eval()(summaries(1, 5)).mu)


def test_averaged_weights_come_with_averaged_statistics(head):
    ema = WeightAverage(head, 0.5)
    head(summaries(100))
    ema.update()
    decay = 2 / 11
    expected = (1 - decay) * head.norm.running_mean
    with ema.applied():
        torch.testing.assert_close(head.norm.running_mean, expected)
    assert not torch.equal(head.norm.running_mean, expected)
