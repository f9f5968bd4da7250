"""Locked dropout and dropout of word types."""

import pytest
import torch
from torch import nn

from textvae.layers.dropout import LockedDropout, embed, kept_weights, recurrent


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_locked_mask_is_constant_over_time_and_differs_between_sentences():
    y = LockedDropout(0.4)(torch.ones(6, 5, 40))
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert len({tuple(row.tolist()) for row in y[:, 0]}) == 6


def test_locked_share_and_scale():
    y = LockedDropout(0.3)(torch.ones(100, 1, 1000))
    assert (y == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / 0.7))


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (0.5, False)])
def test_locked_does_nothing(p, training):
    x = torch.randn(2, 3, 4)
    assert LockedDropout(p).train(training)(x) is x


def scaled(embedding, ids):
    """Word vectors times the square root of their size."""
    return embedding(ids) * embedding.weight.shape[1] ** 0.5


def test_embedding_dropout_drops_whole_types():
    embedding = nn.Embedding(40, 8)
    ids = torch.arange(40).repeat(3, 2)  # every type twice in each of three sentences
    y = embed(embedding, ids, 0.5, training=True)
    kept = (y != 0).any(-1)
    assert torch.equal(kept, kept[:1, :40].repeat(3, 2))
    assert 5 < kept[0, :40].sum() < 35
    torch.testing.assert_close(y[kept], 2 * scaled(embedding, ids)[kept])


def test_embedding_dropout_keeps_the_expectation():
    embedding, ids = nn.Embedding(5, 3), torch.arange(5)[None]
    mean = torch.stack([embed(embedding, ids, 0.3, training=True) for _ in range(8000)]).mean(0)
    standard_error = scaled(embedding, ids).abs() * (0.3 / 0.7 / 8000) ** 0.5
    assert ((mean - scaled(embedding, ids)).abs() < 5 * standard_error).all()


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (0.5, False)])
def test_embedding_dropout_does_nothing(p, training):
    embedding, ids = nn.Embedding(5, 3), torch.tensor([[0, 4, 2]])
    assert torch.equal(embed(embedding, ids, p, training), scaled(embedding, ids))


CELLS = {"gru": nn.GRU, "lstm": nn.LSTM}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("given", [True, False])
def test_weight_dropout_is_the_layer_with_some_weights_at_zero(cell, given, monkeypatch):
    layer, x = CELLS[cell](5, 7, batch_first=True), torch.randn(3, 4, 5)
    first = torch.randn(1, 3, 7) if given else None
    state = (first, 2 * first) if given and cell == "lstm" else first
    mask = kept_weights(layer.weight_hh_l0, 0.3)
    monkeypatch.setattr("textvae.layers.dropout.kept_weights", lambda weight, p: mask)
    outputs, last = recurrent(layer, x, state, 0.3)
    thinned = CELLS[cell](5, 7, batch_first=True)
    thinned.load_state_dict(layer.state_dict())
    with torch.no_grad():
        thinned.weight_hh_l0 *= mask
    expected, expected_last = thinned(x, state)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(last, expected_last)


@pytest.mark.parametrize("p", [1 / 256, 0.3, 0.5, 0.9])
def test_kept_weights(p):
    mask, p = kept_weights(torch.empty(700, 1001), p), round(256 * p) / 256
    assert (mask == 0).float().mean().item() == pytest.approx(p, abs=0.003)
    assert mask.mean().item() == pytest.approx(1, abs=0.02)
    assert len(mask.unique()) == 2
    # Bytes of one draw are independent: the share of neighbours that are both dropped is the product.
    zero = (mask == 0).float()
    assert (zero[:, 1:] * zero[:, :-1]).mean().item() == pytest.approx(p * p, abs=0.003)
    assert not torch.equal(mask, kept_weights(mask, p))
    torch.testing.assert_close(mask.max().item(), 1 / (1 - p))


@pytest.mark.parametrize("cell", CELLS)
def test_weight_dropout_share_and_gradient(cell):
    layer = CELLS[cell](5, 64, batch_first=True)
    recurrent(layer, torch.randn(3, 4, 5), None, 0.3)[0].square().sum().backward()
    # A dropped weight has no gradient; any other has, since every state counts.
    assert (layer.weight_hh_l0.grad == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert (layer.weight_ih_l0.grad != 0).all()


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (0.5, False)])
def test_weight_dropout_does_nothing(p, training):
    layer, x = nn.LSTM(5, 7, batch_first=True).train(training), torch.randn(3, 4, 5)
    assert torch.equal(recurrent(layer, x, None, p)[0], layer(x)[0])
