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


@pytest.mark.parametrize("substitute", [3, 4])
@pytest.mark.parametrize("name", ENCODERS)
def test_word_dropout_in_training_only(make_model, batch, name, substitute):
    """With every word hidden, sentences of one length are the same to the encoder."""
    hiding = {"word_dropout": 1.0, "word_dropout_with": {3: "unk", 4: "mask"}[substitute]}
    encoder = make_model(encoder=ENCODERS[name] | hiding).encoder
    ids = torch.tensor([[1, 10, 11, 12, 2], [1, 20, 21, 22, 2]])
    mask = torch.ones_like(ids)
    assert (encoder(ids, mask)[0] - encoder(ids, mask)[1]).abs().max() > 1e-4
    hidden = torch.tensor([[1, substitute, substitute, substitute, 2]])
    expected = encoder(hidden, mask[:1])
    torch.testing.assert_close(encoder.train()(ids, mask), expected.expand(2, -1))
