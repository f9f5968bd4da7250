"""The recurrent encoder against torch's bidirectional, multi-layer networks, one sentence at a time."""

import math

import pytest
import torch
from torch import nn

from textvae.encoders.recurrent import reverse

E, H = 12, 10


def turned(x):
    """(T,H), each pair of features as a complex number, turned by its angle times the place."""
    half = x.shape[1] // 2
    angles = math.pi * (torch.arange(half) + 0.5) / half
    pairs = torch.complex(x[:, :half], x[:, half:])
    pairs = pairs * torch.polar(torch.ones(1), torch.arange(len(x))[:, None] * angles)
    return torch.cat([pairs.real, pairs.imag], 1)


def torch_network(encoder, cell, num_layers, bidirectional):
    """torch's own network with the encoder's weights."""
    network = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](
        E, H, num_layers=num_layers, bidirectional=bidirectional, batch_first=True
    )
    state = {}
    for layer in range(num_layers):
        for name, value in encoder.forwards[layer].state_dict().items():
            state[name.replace("_l0", f"_l{layer}")] = value
        if bidirectional:
            for name, value in encoder.backwards[layer].state_dict().items():
                state[name.replace("_l0", f"_l{layer}_reverse")] = value
    network.load_state_dict(state)
    return network


@pytest.mark.parametrize("word_sum", [False, True], ids=["states", "words-too"])
@pytest.mark.parametrize("pooling", ["last", "mean", "max", "rotary"])
@pytest.mark.parametrize("bidirectional", [True, False], ids=["both", "forward"])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_equals_torch_one_sentence_at_a_time(make_model, batch, cell, num_layers, bidirectional, pooling, word_sum):
    config = {
        "kind": "recurrent",
        "cell": cell,
        "embedding_size": E,
        "hidden_size": H,
        "num_layers": num_layers,
        "bidirectional": bidirectional,
        "pooling": pooling,
        "word_sum": word_sum,
    }
    encoder = make_model(encoder=config).encoder
    network = torch_network(encoder, cell, num_layers, bidirectional)
    expected = []
    for ids, length in zip(batch[0], batch[1].sum(1), strict=True):
        words = encoder.embedding(ids[:length]) * encoder.embedding.embedding_dim**0.5
        states, last = network(words[None])
        hidden = last[0] if cell == "lstm" else last  # (layers * directions, 1, H)
        directions = 2 if bidirectional else 1
        summary = {
            "last": hidden[-directions:, 0].flatten(),
            "mean": states[0].mean(0),
            "max": states[0].amax(0),
            "rotary": turned(states[0]).sum(0) / length**0.5,
        }[pooling]
        expected.append(torch.cat([summary, words.sum(0) / length**0.5]) if word_sum else summary)
    torch.testing.assert_close(encoder(*batch), torch.stack(expected), rtol=1e-5, atol=1e-6)


def test_reverse():
    x = torch.arange(8.0).view(2, 4, 1)
    lengths = torch.tensor([4, 2])
    assert reverse(x, lengths)[..., 0].tolist() == [[3, 2, 1, 0], [5, 4, 6, 7]]
    assert torch.equal(reverse(reverse(x, lengths), lengths), x)


@pytest.mark.parametrize("key", ["dropout", "embedding_dropout"])
def test_dropout_in_training_only(make_model, batch, key):
    config = {"kind": "recurrent", "embedding_size": E, "hidden_size": H, key: 0.5}
    encoder, without = make_model(encoder=config).encoder, make_model().encoder
    assert torch.equal(encoder(*batch), without(*batch))
    encoder.train()
    assert not torch.equal(encoder(*batch), encoder(*batch))


def test_locked_dropout_drops_features_of_the_whole_sentence(make_model):
    """With mean pooling of states that locked dropout has passed, a dropped feature is exactly zero."""
    config = {"kind": "recurrent", "embedding_size": E, "hidden_size": 50, "dropout": 0.4, "pooling": "mean"}
    encoder = make_model(encoder=config).encoder.train()
    summary = encoder(torch.full((20, 9), 5), torch.ones(20, 9, dtype=torch.long))
    assert (summary == 0).float().mean().item() == pytest.approx(0.4, abs=0.05)
