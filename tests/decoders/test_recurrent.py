"""The recurrent decoder against torch's networks, and where z enters."""

import itertools
import math

import pytest
import torch
from torch import nn

from textvae.decoders import RecurrentState

E, H, D = 12, 14, 4
PLACES = ("initial", "concat", "output", "rotary")
SUBSETS = [s for n in (1, 2, 3, 4) for s in itertools.combinations(PLACES, n)]


def make_decoder(make_model, **keys):
    return make_model(decoder={"kind": "recurrent", "embedding_size": E, "hidden_size": H} | keys).decoder


@pytest.fixture
def z(batch):
    return torch.randn(len(batch[0]), D, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("inject", SUBSETS, ids="+".join)
@pytest.mark.parametrize(("cell", "num_layers"), [("gru", 1), ("gru", 2), ("lstm", 1), ("lstm", 2)])
def test_equals_torch(make_model, batch, z, cell, num_layers, inject):
    decoder = make_decoder(make_model, cell=cell, num_layers=num_layers, inject=inject)
    size = E + (E if "rotary" in inject else 0) + (D if "concat" in inject else 0)
    network = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](size, H, num_layers=num_layers, batch_first=True)
    network.load_state_dict(
        {
            name.replace("_l0", f"_l{layer}"): value
            for layer in range(num_layers)
            for name, value in decoder.layers[layer].state_dict().items()
        }
    )
    x = decoder.embedding(batch[0]) * decoder.embedding.embedding_dim**0.5
    if "concat" in inject:
        x = torch.cat([x, z[:, None].repeat(1, x.shape[1], 1)], -1)
    if "rotary" in inject:
        words = z @ decoder.rotary.unfold.weight.T
        words = torch.complex(words[:, : E // 2], words[:, E // 2 :])[:, None]
        back = -math.pi * (torch.arange(E // 2) + 0.5) / (E // 2)
        words = words * torch.polar(torch.ones(1), torch.arange(1, x.shape[1] + 1)[:, None] * back)
        memory = torch.cat([words.real, words.imag], -1)
        x = torch.cat([x, memory], -1)
    first = torch.zeros(num_layers, len(z), H)
    if "initial" in inject:
        first = decoder.initial(z).view(len(z), num_layers, H).transpose(0, 1).contiguous()
    states = network(x, first.tanh() if cell == "gru" else (first.tanh(), first))[0]
    expected = decoder.projection(states)
    if "output" in inject:
        expected = expected + (z @ decoder.output.weight.T)[:, None]
    if "rotary" in inject:
        expected = expected + memory @ decoder.recall.weight.T
    torch.testing.assert_close(decoder(batch[0], z).features, expected, rtol=1e-5, atol=1e-6)


def test_output_injection_adds_the_same_logits_at_every_step(make_model, batch, z):
    decoder = make_decoder(make_model, inject=("output",))
    difference = decoder.logits(decoder(batch[0], z).features - decoder(batch[0], 0 * z).features)
    torch.testing.assert_close(difference, difference[:, :1].expand_as(difference), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("hidden_size", [E, H])
def test_projection_only_where_sizes_differ(make_model, tied, hidden_size):
    decoder = make_decoder(make_model, hidden_size=hidden_size, tie_embeddings=tied)
    assert isinstance(decoder.projection, nn.Linear) == (tied and hidden_size != E)


def test_locked_dropout_in_training_only(make_model, batch, z):
    decoder, without = make_decoder(make_model, dropout=0.5), make_decoder(make_model)
    assert torch.equal(decoder(batch[0], z).features, without(batch[0], z).features)
    decoder.train()
    assert not torch.equal(decoder(batch[0], z).features, decoder(batch[0], z).features)


def test_where_locked_dropout_acts(make_model, batch, z):
    """On word vectors, between layers and before the softmax."""
    decoder = make_decoder(make_model, dropout=0.5, num_layers=2)
    sizes = []
    decoder.drop.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[-1]))
    decoder.train()(batch[0], z)
    assert sizes == [E, H, H]
    decoder = make_decoder(make_model, dropout=0.5, hidden_size=E, inject=("initial",)).train()
    dropped = (decoder(batch[0], z).features == 0).float()
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))  # the same at every step
    assert 0.2 < float(dropped.mean()) < 0.8


def test_embedding_dropout_hides_types(make_model, z):
    """A sentence of one type, its vector dropped in about half of the passes, gives two different outcomes."""
    decoder = make_decoder(make_model, embedding_dropout=0.5).train()
    torch.manual_seed(0)
    outcomes = {tuple(decoder(torch.full((1, 3), 7), z[:1]).features.flatten().tolist()) for _ in range(30)}
    assert len(outcomes) == 2


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_weight_dropout_in_training_only(make_model, batch, z, cell):
    decoder, without = make_decoder(make_model, cell=cell, weight_dropout=0.5), make_decoder(make_model, cell=cell)
    assert torch.equal(decoder(batch[0], z).features, without(batch[0], z).features)
    decoder.train()
    assert not torch.equal(decoder(batch[0], z).features, decoder(batch[0], z).features)


def test_reordering_keeps_both_parts_of_an_lstm_state():
    state = RecurrentState()
    state.layers = [(torch.arange(3.0).view(1, 3, 1), -torch.arange(3.0).view(1, 3, 1)) for _ in range(2)]
    state.reorder_cache(torch.tensor([2, 0, 2]))
    for hidden, cell in state.layers:
        assert hidden.flatten().tolist() == [2, 0, 2]
        assert cell.flatten().tolist() == [-2, 0, -2]
