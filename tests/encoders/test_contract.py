"""What every registered encoder must do."""

import pytest
import torch

from tests.conftest import ENCODERS
from tests.contract import assert_gradient_everywhere, assert_same_state, disturbed, reloaded, variants

CASES = variants("encoder", ENCODERS)


@pytest.fixture(params=CASES.values(), ids=CASES)
def model(request, make_model):
    return disturbed(make_model(encoder=request.param))


def test_shape_and_order(model, batch):
    summary = model.encoder(*batch)
    assert summary.shape == (len(batch[0]), model.encoder.output_size)
    assert summary.isfinite().all()
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(model.encoder(batch[0][order], batch[1][order]), summary[order], rtol=1e-5, atol=1e-6)


def test_one_sentence_of_two_tokens(model):
    """The shortest text: bos and eos."""
    summary = model.encoder(torch.tensor([[1, 2]]), torch.ones(1, 2, dtype=torch.long))
    assert summary.shape == (1, model.encoder.output_size)
    assert summary.isfinite().all()


def test_the_order_of_words_counts(model):
    mask = torch.ones(1, 5, dtype=torch.long)
    one, two = (model.encoder(torch.tensor([ids]), mask) for ids in ([1, 6, 7, 8, 2], [1, 8, 6, 7, 2]))
    assert (one - two).abs().max() > 1e-3


def test_gradient_reaches_every_parameter(model, batch):
    summary = model.encoder(*batch)
    (summary * torch.randn(summary.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    assert_gradient_everywhere(model.encoder)


def test_save_and_load(model, batch, tmp_path):
    copy = reloaded(model, tmp_path)
    assert_same_state(model.encoder, copy.encoder)
    assert torch.equal(copy.encoder(*batch), model.encoder(*batch))
