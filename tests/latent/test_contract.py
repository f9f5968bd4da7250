"""What every registered posterior and prior must do, and every pair of them that is allowed."""

import math

import pytest
import torch
import torch.nn.functional as F

from tests.contract import assert_gradient_everywhere, assert_same_state, disturbed, reloaded, variants
from textvae import registry
from textvae.configuration import TextVAEConfig, refusal
from textvae.evaluation.latent import latent_information
from textvae.evaluation.likelihood import Bound
from textvae.latent import kl
from textvae.modeling import TextVAEModel

S, B, H, D = 3, 5, 6, 4
POSTERIORS = variants(
    "posterior",
    {
        "gaussian": {"kind": "gaussian"},
        "gaussian-batch-norm": {"kind": "gaussian", "batch_norm": 0.6},
        "flow": {"kind": "flow", "hidden_size": 8, "context_size": 3},
        "flow-spline": {"kind": "flow", "hidden_size": 8, "context_size": 3, "transform": "spline"},
        "vmf": {"kind": "vmf", "concentration": 8.0},
        "power_spherical": {"kind": "power_spherical", "concentration": 8.0},
    },
)
PRIORS = variants(
    "prior",
    {
        "mixture": {"kind": "mixture", "components": 3},
        "vamp": {"kind": "vamp", "components": 3},
        "flow-spline": {"kind": "flow", "hidden_size": 8, "transform": "spline"},
        "flow": {"kind": "flow", "hidden_size": 8},
    },
)
DENSITIES = [name for name in POSTERIORS if registry.part("posterior", POSTERIORS[name]["kind"]).has_density]
PAIRS = [(q, p) for q in POSTERIORS for p in PRIORS if not refusal(POSTERIORS[q]["kind"], PRIORS[p]["kind"])]
WITH_RATE = [(q, p) for q, p in PAIRS if q in DENSITIES]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make(posterior, prior=None, size=D):
    """A posterior's head with weights away from zero, as in evaluation, and a prior."""
    torch.manual_seed(0)
    head = registry.build("posterior", POSTERIORS[posterior], H, size).eval()
    if prior is None:
        return head
    p = registry.build("prior", PRIORS[prior], size)
    if p.support is None:
        p.attach(H, head)
    return head, p


def lies_where_it_says(z, support):
    return support != "sphere" or torch.allclose(z.norm(dim=-1), torch.ones(()), atol=1e-5)


def space(support, step=0.01):
    """Points that fill a space of one dimension, z (N,size), and the length that each stands for."""
    if support == "sphere":
        angle = torch.arange(4000, dtype=torch.float64) * (2 * math.pi / 4000)
        return torch.stack([angle.cos(), angle.sin()], 1).float(), 2 * math.pi / 4000
    return torch.arange(-20, 20, step)[:, None], step


@pytest.fixture
def summary():
    return torch.randn(B, H, generator=generator(1))


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_posterior_samples(posterior, summary):
    head = make(posterior)
    q = head(summary)
    z = q.rsample(S, generator(5))
    assert q.mean.shape == (B, D)
    assert z.shape == (S, B, D)
    assert lies_where_it_says(z, head.support)
    assert lies_where_it_says(q.mean, head.support)
    assert torch.equal(z, q.rsample(S, generator(5)))
    assert torch.equal(z, q.rsample(S, generator(6))) is not head.has_density
    torch.testing.assert_close(q[1:3].mean, q.mean[1:3])


@pytest.mark.parametrize("posterior", DENSITIES)
def test_posterior_density(posterior, summary):
    q = make(posterior)(summary)
    z = q.rsample(S, generator())
    log_q = q.log_prob(z)
    assert log_q.shape == (S, B)
    assert log_q.isfinite().all()
    torch.testing.assert_close(q[[3, 0]].log_prob(z[:, [3, 0]]), log_q[:, [3, 0]])
    every = q.log_prob(z[0][:, None])  # each z under each q
    torch.testing.assert_close(every.diagonal(), log_q[0])


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_posterior_mean(posterior, summary):
    """The mean of samples, or its direction; after a flow, where the Gaussian's mean goes."""
    head = make(posterior)
    with torch.no_grad():
        q = head(summary)
        if POSTERIORS[posterior]["kind"] == "flow":
            torch.testing.assert_close(q.flow(q.context)(q.mean), q.base.mu, rtol=1e-4, atol=1e-5)
            return
        z = q.rsample(40_000, generator())
        error = 5 * z.std(0) / 40_000**0.5 + 1e-6
        mean = z.mean(0)
        if head.support == "sphere":
            mean, error = F.normalize(mean, dim=-1), error / mean.norm(dim=-1, keepdim=True)
    assert ((mean - q.mean).abs() < error).all()


@pytest.mark.parametrize("posterior", DENSITIES)
def test_posterior_is_normalised(posterior, summary):
    """In one dimension or on the circle the density integrates to one."""
    head = make(posterior, size=2 if make(posterior).support == "sphere" else 1)
    grid, width = space(head.support)
    with torch.no_grad():
        total = head(summary).log_prob(grid[:, None]).exp().sum(0) * width
    torch.testing.assert_close(total, torch.ones(B), rtol=0, atol=1e-3)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_gradient_reaches_every_parameter_of_the_posterior(posterior, summary):
    head = make(posterior)
    q = head(summary)
    z = q.rsample(S, generator())
    weight = torch.randn(S, B, D, generator=generator(2))
    loss = (weight * z).sum()
    if head.has_density:
        loss = loss + q.log_prob(z.detach()).sum()
    loss.backward()
    assert_gradient_everywhere(head)


@pytest.mark.parametrize("posterior", DENSITIES)
def test_stopped_gradient_reaches_z_only(posterior, summary):
    head = make(posterior)
    q = head(summary)
    z = q.rsample(S, generator()).detach().requires_grad_()
    log_q = q.log_prob(z, stop_gradient=True)
    torch.testing.assert_close(log_q, q.log_prob(z))
    log_q.sum().backward()
    assert z.grad.abs().max() > 0
    assert all(p.grad is None or not p.grad.any() for p in head.parameters())
    assert all(p.requires_grad for p in head.parameters())


@pytest.mark.parametrize(("posterior", "prior"), PAIRS)
def test_float32_under_autocast(posterior, prior, summary):
    head, p = make(posterior, prior)
    with torch.autocast("cpu", torch.bfloat16):
        q = head(summary.bfloat16())
        z = q.rsample(S, generator())
        values = [q.mean, z, p.log_prob(z), p.sample(2, generator())]
        if head.has_density:
            values += [q.log_prob(z), kl(q, p, q.log_prob(z), p.log_prob(z))[0]]
    assert {value.dtype for value in values} == {torch.float32}


@pytest.mark.parametrize(("posterior", "prior"), PAIRS)
def test_prior_samples(posterior, prior):
    _, p = make(posterior, prior)
    z = p.sample(7, generator(5))
    assert z.shape == (7, D)
    assert p.log_prob(z).shape == (7,)
    assert p.log_prob(z.expand(S, 7, D)).shape == (S, 7)
    assert torch.equal(z, p.sample(7, generator(5)))
    assert not torch.equal(z, p.sample(7, generator(6)))


@pytest.mark.parametrize(("posterior", "prior"), [pair for pair in PAIRS if make(pair[0]).support == "euclidean"])
def test_the_noise_of_a_prior_can_be_scaled(posterior, prior):
    """Around the origin, around each component, or before the flow."""
    _, p = make(posterior, prior)
    with torch.no_grad():
        middle, half, whole = (p.sample(50, generator(5), scale=scale) for scale in (0.0, 0.5, 1.0))
        assert torch.equal(whole, p.sample(50, generator(5)))
        if "flow" in prior:
            middle, half, whole = (p.flow()(z) for z in (middle, half, whole))
    assert len(middle.unique(dim=0).round(decimals=4).unique(dim=0)) == (3 if prior in ("mixture", "vamp") else 1)
    torch.testing.assert_close(half, (middle + whole) / 2, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("transform", ["affine", "spline"])
def test_a_flow_in_two_dimensions(transform):
    """Where it is made of couplings: the density integrates to one, and each coordinate bends with the other."""
    torch.manual_seed(0)
    config = {"kind": "flow", "hidden_size": 8, "context_size": 3, "transform": transform}
    head = registry.build("posterior", config, H, 2).eval()
    with torch.no_grad():
        for weight in head.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator(3))
    step = 0.05
    line = torch.arange(-15, 15, step)
    grid = torch.cartesian_prod(line, line)
    q = head(0.5 * torch.randn(2, H, generator=generator(1)))
    with torch.no_grad():
        total = q.log_prob(grid[:, None].expand(-1, 2, -1)).double().exp().sum(0) * step**2
    torch.testing.assert_close(total, torch.ones(2, dtype=torch.float64), rtol=0, atol=2e-3)
    jacobian = torch.autograd.functional.jacobian(lambda z: q.flow(q.context[0]).inv(z), torch.tensor([0.3, -0.2]))
    assert (jacobian.abs() > 1e-3).all()


@pytest.mark.parametrize(("posterior", "prior"), PAIRS)
def test_prior_is_normalised_and_is_what_it_samples_from(posterior, prior):
    """In one dimension, or on the circle: the density integrates to one and fits the samples."""
    support = make(posterior).support
    _, p = make(posterior, prior, size=2 if support == "sphere" else 1)
    grid, width = space(support, 0.002)  # splines may be steep
    with torch.no_grad():
        cumulative = p.log_prob(grid).double().exp().cumsum(0) * width
        z = p.sample(20_000, generator())
    assert lies_where_it_says(z, support)
    angle = torch.atan2(z[:, 1], z[:, 0]) % (2 * math.pi) if support == "sphere" else None
    place = (z[:, 0] + 20 if angle is None else angle) / width
    assert cumulative[-1].item() == pytest.approx(1, abs=1e-3)
    for level in (0.1, 0.5, 0.9):
        point = int((cumulative >= level).nonzero()[0, 0])
        assert (place <= point).float().mean().item() == pytest.approx(level, abs=0.015)


@pytest.mark.parametrize(("posterior", "prior"), WITH_RATE)
def test_rate_is_a_mean_over_samples_or_exact(posterior, prior, summary):
    """A Monte Carlo estimate from many samples agrees with what `kl` returns, and its terms add up."""
    head, p = make(posterior, prior)
    with torch.no_grad():
        q = head(summary)
        z = q.rsample(5_000, generator())
        log_q, log_p = q.log_prob(z), p.log_prob(z)
        rate, per_dimension = kl(q, p, log_q, log_p)
        other = q.rsample(5_000, generator(7))  # where there is no closed form, the same draws would give the same
        difference = q.log_prob(other) - p.log_prob(other)
    assert rate.shape == (B,)
    assert ((difference.mean(0) - rate).abs() < 7 * difference.std(0) / 5_000**0.5 + 1e-5).all()
    if per_dimension is not None:
        assert per_dimension.shape == (B, D)
        torch.testing.assert_close(per_dimension.sum(1), rate)


@pytest.mark.parametrize(("posterior", "prior"), WITH_RATE)
def test_rate_and_marginal_kl_by_integration(posterior, prior, summary):
    """In one dimension, or on the circle; the estimates that draw are averaged over many draws."""
    head, p = make(posterior, prior, size=2 if make(posterior).support == "sphere" else 1)
    grid, width = space(head.support)
    with torch.no_grad():
        q, log_p = head(3 * summary), p.log_prob(grid).double()
        log_q = q.log_prob(grid[:, None]).double()
        log_mixture = log_q.logsumexp(1) - math.log(B)
        exact = ((log_q.exp() * (log_q - log_p[:, None])).nan_to_num().sum(0) * width).float()
        exact_marginal = float((log_mixture.exp() * (log_mixture - log_p)).nan_to_num().sum() * width)
        z = q.rsample(4_000, generator())
        estimates = q.log_prob(z) - p.log_prob(z)
        rate, _ = kl(q, p, q.log_prob(z), p.log_prob(z))
        # Ten texts share each posterior, in two batches and out of order: the aggregate is that of five.
        order = torch.randperm(10 * B, generator=generator(4))
        batches = [q[(order % B)[:20]], q[(order % B)[20:]]]
        measured = []
        for draw in z[:200].view(20, 10, B, -1).unbind():
            one = draw[order // B, order % B]
            bound = Bound(torch.zeros(10 * B), exact.repeat(10), q.mean.repeat(10, 1), batches, one, order)
            measured.append(latent_information(bound))
    marginal, information = (torch.tensor([m[key] for m in measured]) for key in ("marginal_kl", "mutual_information"))
    error = 5 * float(information.std()) / 20**0.5 + 1e-3
    assert ((rate - exact).abs() < 5 * estimates.std(0) / 4_000**0.5 + 1e-3).all()
    assert error < 0.2
    assert float(marginal.mean()) == pytest.approx(exact_marginal, abs=error)
    assert float(information.mean()) == pytest.approx(float(exact.mean()) - exact_marginal, abs=error)


@pytest.mark.parametrize(("posterior", "prior"), PAIRS)
def test_gradient_reaches_a_learned_prior(posterior, prior, summary):
    head, p = make(posterior, prior)
    assert bool(list(p.parameters())) is p.learned
    if p.learned:
        z = head(summary).rsample(S, generator()).detach()
        p.log_prob(z).sum().backward()
        assert_gradient_everywhere(p)


@pytest.mark.parametrize(("posterior", "prior"), PAIRS)
def test_save_and_load(posterior, prior, batch, tmp_path):
    small = {"kind": "recurrent", "embedding_size": 6, "hidden_size": 6}
    latent = {"size": D, "posterior": POSTERIORS[posterior], "prior": PRIORS[prior]}
    config = TextVAEConfig(vocab_size=30, encoder=small, decoder=small, latent=latent)
    model = disturbed(TextVAEModel(config))
    model(*batch)  # moves what batch normalisation has counted
    copy = reloaded(model.eval(), tmp_path)
    assert_same_state(model.posterior, copy.posterior)
    assert_same_state(model.prior, copy.prior)
    one, two = (m(*batch, generator=generator()) for m in (model, copy))
    # The weights are the same to the bit; a kernel may sum in another order where memory lies otherwise.
    torch.testing.assert_close(one.z, two.z, rtol=1e-5, atol=1e-6)
    for name in ("log_q", "log_p", "rate"):
        torch.testing.assert_close(one.get(name), two.get(name))
    torch.testing.assert_close(*(m.sample_prior(3, generator()) for m in (model, copy)))
