"""What every registered posterior and prior must do."""

import pytest
import torch

from tests.contract import assert_gradient_everywhere, assert_same_state, disturbed, reloaded
from textvae import registry
from textvae.configuration import TextVAEConfig
from textvae.latent import kl
from textvae.modeling import TextVAEModel

S, B, H, D = 3, 5, 6, 4


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=registry.kinds("posterior"))
def head(request):
    torch.manual_seed(0)
    return registry.build("posterior", request.param, H, D)


@pytest.fixture(params=registry.kinds("prior"))
def prior(request):
    torch.manual_seed(0)
    return registry.build("prior", request.param, D)


@pytest.fixture
def summary():
    return torch.randn(B, H, generator=generator(1))


def test_posterior_shapes(head, summary):
    q = head(summary)
    z = q.rsample(S, generator())
    assert q.mean.shape == (B, D)
    assert z.shape == (S, B, D)
    assert q.log_prob(z).shape == (S, B)
    assert q.log_prob(z).isfinite().all()


def test_posterior_samples_repeat_with_a_generator(head, summary):
    q = head(summary)
    assert torch.equal(q.rsample(S, generator(5)), q.rsample(S, generator(5)))
    assert not torch.equal(q.rsample(S, generator(5)), q.rsample(S, generator(6)))


def test_posterior_mean_is_the_mean_of_samples(head, summary):
    q = head(summary)
    z = q.rsample(40_000, generator())
    assert ((z.mean(0) - q.mean).abs() < 5 * z.std(0) / 40_000**0.5).all()


def test_gradient_reaches_every_parameter_of_the_posterior(head, summary):
    q = head(summary)
    z = q.rsample(S, generator())
    ((z**2).sum() + q.log_prob(z.detach()).sum()).backward()
    assert_gradient_everywhere(head)


def test_stopped_gradient_reaches_z_only(head, summary):
    q = head(summary)
    z = q.rsample(S, generator()).detach().requires_grad_()
    log_q = q.log_prob(z, stop_gradient=True)
    torch.testing.assert_close(log_q, q.log_prob(z))
    log_q.sum().backward()
    assert z.grad.abs().max() > 0
    assert all(p.grad is None or not p.grad.any() for p in head.parameters())


def test_posterior_is_float32_under_autocast(head, summary):
    with torch.autocast("cpu", torch.bfloat16):
        q = head(summary.bfloat16())
        z = q.rsample(S, generator())
    assert q.mean.dtype == z.dtype == q.log_prob(z).dtype == torch.float32


def test_prior_shapes(prior):
    z = prior.sample(7, generator())
    assert z.shape == (7, D)
    assert prior.log_prob(z).shape == (7,)
    assert prior.log_prob(z.expand(S, 7, D)).shape == (S, 7)


def test_prior_samples_repeat_with_a_generator(prior):
    assert torch.equal(prior.sample(7, generator(5)), prior.sample(7, generator(5)))
    assert not torch.equal(prior.sample(7, generator(5)), prior.sample(7, generator(6)))


@pytest.mark.parametrize("kind", registry.kinds("prior"))
def test_prior_is_normalised_and_is_what_it_samples_from(kind):
    """In one dimension: the density integrates to one, and its distribution function fits the samples."""
    torch.manual_seed(0)
    prior = registry.build("prior", kind, 1)
    grid = torch.linspace(-30, 30, 20_001)
    with torch.no_grad():
        density = prior.log_prob(grid[:, None]).exp()
        z = prior.sample(20_000, generator())[:, 0]
    cumulative = torch.cumulative_trapezoid(density, grid)
    assert cumulative[-1].item() == pytest.approx(1, abs=1e-4)
    for level in (0.1, 0.5, 0.9):
        point = grid[1:][(cumulative >= level).nonzero()[0, 0]]
        assert (z <= point).float().mean().item() == pytest.approx(level, abs=0.015)


def test_rate_is_a_mean_over_samples_or_exact(head, prior, summary):
    """A Monte Carlo estimate from many samples agrees with what `kl` returns, and its terms add up."""
    with torch.no_grad():
        q = head(summary)
        z = q.rsample(40_000, generator())
        log_q, log_p = q.log_prob(z), prior.log_prob(z)
        rate, per_dimension = kl(q, prior, log_q, log_p)
    difference = log_q - log_p
    assert rate.shape == (B,)
    assert ((difference.mean(0) - rate).abs() < 5 * difference.std(0) / 40_000**0.5 + 1e-5).all()
    if per_dimension is not None:
        assert per_dimension.shape == (B, D)
        torch.testing.assert_close(per_dimension.sum(1), rate)


@pytest.mark.parametrize("prior", registry.kinds("prior"))
@pytest.mark.parametrize("posterior", registry.kinds("posterior"))
def test_save_and_load(posterior, prior, batch, tmp_path):
    small = {"kind": "recurrent", "embedding_size": 6, "hidden_size": 6}
    latent = {"size": D, "posterior": posterior, "prior": prior}
    config = TextVAEConfig(vocab_size=30, encoder=small, decoder=small, latent=latent)
    model = disturbed(TextVAEModel(config)).eval()
    copy = reloaded(model, tmp_path)
    assert_same_state(model.posterior, copy.posterior)
    assert_same_state(model.prior, copy.prior)
    one, two = (m(*batch, generator=generator()) for m in (model, copy))
    for name in ("z", "log_q", "log_p", "rate"):
        assert torch.equal(one[name], two[name]), name
