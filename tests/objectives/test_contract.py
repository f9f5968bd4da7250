"""What every registered objective must do."""

import pytest
import torch

from tests.contract import assert_gradient_everywhere
from textvae import registry
from textvae.latent import DiagonalGaussian, kl
from textvae.outputs import TextVAEOutput

B, D = 6, 4


@pytest.fixture(params=registry.kinds("objective"))
def objective(request):
    torch.manual_seed(0)
    return registry.build("objective", request.param, D)


def make_output(samples, with_latent=True):
    """A model's output that can be differentiated: its leaves are distortion, mu and logvar."""
    generator = torch.Generator().manual_seed(0)
    distortion = (50 + 5 * torch.randn(samples, B, generator=generator)).requires_grad_()
    if not with_latent:
        zeros = torch.zeros(samples, B)
        return TextVAEOutput(z=zeros[..., None], log_q=zeros, log_p=zeros, distortion=distortion, rate=zeros[0])
    prior = registry.build("prior", "standard", D)
    q = DiagonalGaussian(
        torch.randn(B, D, generator=generator).requires_grad_(), torch.randn(B, D, generator=generator).requires_grad_()
    )
    z = q.rsample(samples, generator)
    log_q, log_p = q.log_prob(z), prior.log_prob(z)
    rate, per_dimension = kl(q, prior, log_q, log_p)
    return TextVAEOutput(
        q=q,
        z=z,
        log_q=log_q,
        log_p=log_p,
        distortion=distortion,
        rate=rate,
        rate_per_dimension=per_dimension,
        sample_prior=prior.sample,
    )


@pytest.mark.parametrize("progress", [0.0, 0.1, 1.0])
def test_loss_is_a_finite_scalar(objective, progress):
    result = objective(make_output(objective.num_samples), progress)
    assert result.loss.shape == ()
    assert result.loss.isfinite()
    assert isinstance(result.beta, float)


def test_gradient_reaches_distortion_rate_and_own_parameters(objective):
    output = make_output(objective.num_samples)
    for _ in range(1000):
        objective.after_step(torch.tensor(100.0))  # a multiplier that has risen or fallen since the start
    objective(output, 1.0).loss.backward()
    assert (output.distortion.grad != 0).all()
    assert output.q.mu.grad.abs().min() > 0
    assert output.q.logvar.grad.abs().min() > 0
    assert_gradient_everywhere(objective)


def test_a_plain_language_model_has_no_rate_to_pay(objective):
    output = make_output(objective.num_samples, with_latent=False)
    torch.testing.assert_close(objective(output, 1.0).loss, output.distortion.mean())


def test_ends_warmed_up_and_names_what_selects_checkpoints(objective):
    assert objective.warmed_up(1.0)
    assert objective.selects_by in ("nll", "distortion")


def test_state_is_kept(objective):
    """What `state_dict` carries is enough for another one to give the same loss."""
    output = make_output(objective.num_samples)
    with torch.no_grad():
        for p in objective.parameters():
            p.add_(0.1)
        objective.after_step(torch.tensor(3.0))
        objective.after_evaluation(2.0)
    other = type(objective)(objective.config, D)
    other.load_state_dict(objective.state_dict())
    losses = []
    for one in (objective, other):
        torch.manual_seed(1)
        losses.append(one(output, 0.5).loss)
    assert torch.equal(*losses)
