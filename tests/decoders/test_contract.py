"""What every registered decoder must do."""

import pytest
import torch
import torch.nn.functional as F

from tests.conftest import DECODERS
from tests.contract import assert_gradient_everywhere, assert_same_state, disturbed, reloaded, variants

CASES = variants("decoder", DECODERS)
D, V = 4, 30


@pytest.fixture(params=CASES.values(), ids=CASES)
def model(request, make_model):
    return disturbed(make_model(decoder=request.param, latent_size=D, vocab_size=V))


@pytest.fixture
def z(batch):
    return torch.randn(len(batch[0]), D, generator=torch.Generator().manual_seed(3))


def test_shapes(model, batch, z):
    decoder, ids = model.decoder, batch[0]
    output = decoder(ids, z)
    logits = decoder.logits(output.features)
    assert output.features.shape[:2] == ids.shape
    assert output.state is None
    assert logits.shape == (*ids.shape, V)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


def test_nll_is_the_cross_entropy_of_the_logits(model, batch, z):
    features = model.decoder(batch[0], z).features.flatten(0, 1)
    expected = F.cross_entropy(model.decoder.logits(features), batch[0].flatten(), reduction="none")
    torch.testing.assert_close(model.decoder.nll(features, batch[0].flatten()), expected, rtol=1e-5, atol=1e-5)


def test_every_position_sees_z(model, batch, z):
    one, two = (model.decoder.logits(model.decoder(batch[0], latent).features) for latent in (z, z.roll(1, 0)))
    assert (one - two).abs().amax(-1).min() > 1e-4


def test_no_position_sees_later_tokens(model, batch, z):
    ids = batch[0].clone()
    ids[:, 4:] = ids[:, 4:].flip(1) + 5
    before, after = model.decoder(batch[0], z).features, model.decoder(ids % V, z).features
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert (before[:, 5:] - after[:, 5:]).abs().max() > 1e-3


def test_step_by_step_likelihood_equals_the_teacher_forced_one(model, batch):
    """One token at a time with the state, over several latents a sentence, against one pass over the sentences."""
    ids, mask = batch
    z = torch.randn(2, len(ids), D, generator=torch.Generator().manual_seed(4))
    state, flat, total = model.decoder.new_state(), z.flatten(0, 1), torch.zeros(2 * len(ids))
    assert state.get_seq_length() == 0
    repeated, real = ids.repeat(2, 1), mask.repeat(2, 1)
    for t in range(ids.shape[1] - 1):
        features = model.decoder(repeated[:, t : t + 1], flat, state).features
        assert state.get_seq_length() == t + 1
        log_p = model.decoder.logits(features)[:, 0].log_softmax(-1)
        total -= log_p.gather(1, repeated[:, t + 1, None])[:, 0] * real[:, t + 1]
    torch.testing.assert_close(total.view(2, -1), model.distortion(ids, mask, z), rtol=0, atol=1e-4)


def test_several_tokens_at_once_with_the_state(model, batch, z):
    state = model.decoder.new_state()
    parts = [model.decoder(part, z, state).features for part in batch[0].split([4, 1, 4], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), model.decoder(batch[0], z).features, rtol=1e-4, atol=1e-5)


def test_state_follows_its_beam(model, batch, z):
    ids, beams = batch[0], torch.tensor([2, 2, 0, 4, 1])
    state = model.decoder.new_state()
    model.decoder(ids[:, :5], z, state)
    state.reorder_cache(beams)
    after = model.decoder(ids[beams, 5:], z[beams], state).features
    torch.testing.assert_close(after, model.decoder(ids, z).features[beams, 5:], rtol=1e-4, atol=1e-5)


def test_gradient_reaches_every_parameter_and_z(model, batch, z):
    z.requires_grad_()
    features = model.decoder(batch[0][:, :-1], z).features[batch[1][:, 1:].bool()]
    model.decoder.nll(features, batch[0][:, 1:][batch[1][:, 1:].bool()]).sum().backward()
    assert_gradient_everywhere(model.decoder)
    assert (z.grad.abs().amax(1) > 1e-6).all()


def test_save_and_load(model, batch, z, tmp_path):
    copy = reloaded(model, tmp_path)
    assert_same_state(model.decoder, copy.decoder)
    assert torch.equal(copy.decoder(batch[0], z).features, model.decoder(batch[0], z).features)


def test_without_a_latent_it_is_a_language_model(model, make_model, batch):
    """No parameter is left that only z would use, and an empty z is enough."""
    decoder = make_model(decoder=model.config.decoder, latent_size=0, vocab_size=V).decoder
    features = decoder(batch[0][:, :-1], torch.zeros(len(batch[0]), 0)).features
    decoder.nll(features.flatten(0, 1), batch[0][:, 1:].flatten()).sum().backward()
    assert_gradient_everywhere(decoder)
