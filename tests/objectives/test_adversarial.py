"""The adversarial autoencoder: whose gradient comes from where, and whether it brings q(z) to p(z)."""

import torch
import torch.nn.functional as F

from tests.objectives.test_contract import make_output
from textvae import registry
from textvae.latent import DiagonalGaussian
from textvae.outputs import TextVAEOutput


def build(**config):
    torch.manual_seed(0)
    return registry.build("objective", {"kind": "adversarial", "hidden_size": 16, **config}, 4)


def test_each_side_follows_its_own_loss():
    objective, output = build(weight=3.0), make_output(1)
    net, leaves = objective.discriminator, (output.distortion, output.q.mu, output.q.logvar)
    torch.manual_seed(5)
    prior = output.sample_prior(6)
    fooling = -F.logsigmoid(net(output.z[0])).mean()
    own = -F.logsigmoid(net(prior)).mean() - F.logsigmoid(-net(output.z[0].detach())).mean()
    expected = torch.autograd.grad(output.distortion.mean() + 3 * fooling, leaves, retain_graph=True)
    expected_own = torch.autograd.grad(own, list(net.parameters()))
    torch.manual_seed(5)
    result = objective(output, 0.0)
    result.loss.backward()
    torch.testing.assert_close(result.loss, output.distortion.mean() + 3 * fooling)
    torch.testing.assert_close(result.logs["discriminator_loss"], own.detach())
    for leaf, gradient in zip(leaves, expected, strict=True):
        torch.testing.assert_close(leaf.grad, gradient)
    for p, gradient in zip(net.parameters(), expected_own, strict=True):
        torch.testing.assert_close(p.grad, gradient)


def test_brings_the_aggregated_posterior_to_the_prior():
    """Points that start as N(3, 0.2^2), with nothing else to lose."""
    objective = build(hidden_size=32)
    mu = (3 + 0.2 * torch.randn(256, 4)).requires_grad_()
    points, own = torch.optim.Adam([mu], 0.02), torch.optim.Adam(objective.parameters(), 2e-3, betas=(0.5, 0.999))
    for _ in range(600):
        q = DiagonalGaussian(mu, torch.full_like(mu, -4.0))
        output = TextVAEOutput(
            q=q, z=q.rsample(1), distortion=torch.zeros(1, 256), sample_prior=lambda n: torch.randn(n, 4)
        )
        objective(output, 0.0).loss.backward()
        for optimizer in (points, own):
            optimizer.step()
            optimizer.zero_grad()
    assert mu.mean(0).abs().max() < 0.4
    assert (mu.std(0) - 1).abs().max() < 0.4


def test_a_plain_language_model_has_no_discriminator():
    assert not list(registry.build("objective", "adversarial", 0).parameters())
