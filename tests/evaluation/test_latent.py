"""Active units and mutual information against brute force."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal

from textvae import registry
from textvae.evaluation import latent
from textvae.evaluation.latent import active_units, latent_information, least_variance, mutual_information
from textvae.evaluation.likelihood import Bound
from textvae.latent import DiagonalGaussian

D = 3


def make_posteriors(sizes, spread=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    posteriors = [
        DiagonalGaussian(
            spread * torch.randn(size, D, generator=generator), 0.5 * torch.randn(size, D, generator=generator)
        )
        for size in sizes
    ]
    return posteriors, torch.cat([q.rsample(1, generator)[0] for q in posteriors])


def brute_force(posteriors, z):
    mu, logvar = (torch.cat([getattr(q, name) for q in posteriors]) for name in ("mu", "logvar"))
    total = 0.0
    for row, sample in enumerate(z):
        log_q = [Independent(Normal(m, (0.5 * v).exp()), 1).log_prob(sample) for m, v in zip(mu, logvar, strict=True)]
        total += float(log_q[row]) - float(torch.stack(log_q).double().logsumexp(0)) + math.log(len(z))
    return total / len(z)


@pytest.mark.parametrize("sizes", [(1,), (7,), (5, 3, 9), (1, 1, 20)])
@pytest.mark.parametrize("spread", [0.0, 0.5, 3.0, 10.0, 1000.0])
def test_mutual_information_equals_brute_force(sizes, spread):
    """Before it is cut at its cap as well, which would hide that it is too high."""
    posteriors, z = make_posteriors(sizes, spread)
    assert latent._information(posteriors, z) == pytest.approx(brute_force(posteriors, z), abs=2e-4)
    assert mutual_information(posteriors, z) == pytest.approx(brute_force(posteriors, z), abs=1e-4)
    assert mutual_information(posteriors, z) <= math.log(sum(sizes))


def test_mutual_information_does_not_depend_on_how_it_is_cut(monkeypatch):
    posteriors, z = make_posteriors((12, 8))
    whole = mutual_information(posteriors, z)
    one = DiagonalGaussian(torch.cat([q.mu for q in posteriors]), torch.cat([q.logvar for q in posteriors]))
    assert mutual_information([one], z) == pytest.approx(whole, abs=1e-5)
    monkeypatch.setattr(latent, "PAIRS_AT_ONCE", 50)
    assert mutual_information(posteriors, z) == pytest.approx(whole, abs=1e-5)


def test_mutual_information_of_posteriors_that_never_meet_is_log_n():
    q = DiagonalGaussian(1000 * torch.arange(25.0)[:, None].expand(-1, D), torch.zeros(25, D))
    z = q.rsample(1, torch.Generator().manual_seed(0))[0]
    assert latent._information([q], z) == pytest.approx(math.log(25), abs=1e-5)


def test_mutual_information_of_equal_posteriors_is_zero():
    q = DiagonalGaussian(torch.full((25, D), 0.3), torch.full((25, D), -1.0))
    z = q.rsample(1, torch.Generator().manual_seed(0))[0]
    assert mutual_information([q], z) == pytest.approx(0, abs=1e-5)


def test_mutual_information_is_at_most_the_rate_on_average():
    """What is left of the rate is KL(q(z)||p(z)), which is not negative."""
    posteriors, z = make_posteriors((400,), spread=1.5)
    q = posteriors[0]
    log_p = Normal(0.0, 1.0).log_prob(z).sum(1)
    rate = float((q.log_prob(z[None])[0] - log_p).mean())
    assert 0 < mutual_information(posteriors, z) < rate


def test_active_units():
    """Standard deviations of 0.2 and 0.11 are above the threshold, 0.09 and 0 below; the mean does not matter."""
    mu = torch.randn(20_000, 4, generator=torch.Generator().manual_seed(0))
    mu = mu / mu.std(0) * torch.tensor([0.2, 0.11, 0.09, 0.0]) + torch.tensor([0.0, 100.0, 5.0, 5.0])
    assert active_units(mu) == 2


@pytest.mark.parametrize(("mu", "expected"), [([[3.0, 4.0]], None), ([[0.0, 1.0], [0.0, 1.1], [1.0, 1.05]], 1)])
def test_active_units_of_few_texts(mu, expected):
    assert active_units(torch.tensor(mu)) == expected


def test_a_flow_posterior_is_measured_on_some_sentences(monkeypatch):
    """Those of one draw, with their own rate: brute force over the chosen texts gives the same numbers."""
    torch.manual_seed(0)
    head = registry.build("posterior", {"kind": "flow", "hidden_size": 8}, 6, D).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        q = head(3 * torch.randn(40, 6, generator=generator))
        z, order = q.rsample(1, generator)[0], torch.randperm(40, generator=generator)
        bound = Bound(torch.zeros(40), torch.arange(40.0), q.mean, [q[order[:25]], q[order[25:]]], z[order], order)
        assert latent_information(bound)["mutual_information_sentences"] == 40
        monkeypatch.setattr(latent, "FLOW_SENTENCES", 12)
        chosen = order[torch.randperm(40, generator=torch.Generator().manual_seed(7))[:12]]
        every = q[chosen].log_prob(z[chosen][:, None])
        expected = float((every.diagonal() - every.logsumexp(1) + math.log(12)).mean())
        measured = latent_information(bound, seed=7)
    assert measured["mutual_information"] == pytest.approx(expected, abs=1e-4)
    assert measured["marginal_kl"] == pytest.approx(float(chosen.float().mean()) - expected, abs=1e-4)
    assert (measured["mutual_information_sentences"], measured["mutual_information_cap"]) == (12, math.log(12))


def test_active_units_on_the_sphere():
    """The threshold is a hundredth of the uniform prior's variance, as it is of the standard normal's elsewhere."""
    mu = torch.randn(20_000, 4, generator=torch.Generator().manual_seed(0))
    mu = mu / mu.std(0) * torch.tensor([0.2, 0.06, 0.045, 0.0])
    assert active_units(mu, "sphere") == 2
    assert active_units(mu) == 1


def test_a_dimension_of_a_sphere_is_active_at_a_share_of_its_variance():
    """All dimensions of vectors spread evenly over a sphere of 128 dimensions are active."""
    z = torch.nn.functional.normalize(torch.randn(2000, 128, generator=torch.Generator().manual_seed(0)), dim=1)
    assert active_units(z, "sphere") == 128
    assert active_units(z) == 0
    assert least_variance("sphere", 128) == pytest.approx(0.01 / 128)
