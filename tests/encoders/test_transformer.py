"""The transformer encoder: against torch's own, positions, dropout, errors."""

import pytest
import torch
from torch import nn

LEARNED = {
    "kind": "transformer",
    "hidden_size": 16,
    "num_heads": 2,
    "num_layers": 2,
    "feedforward_size": 24,
    "positions": "learned",
    "max_positions": 9,
    "dropout": 0.0,
}


def test_equals_torch_with_a_padding_mask(make_model, batch):
    encoder = make_model(encoder=LEARNED).encoder
    layers = []
    for block in encoder.blocks:
        layer = nn.TransformerEncoderLayer(16, 2, 24, 0.0, "gelu", batch_first=True, norm_first=True)
        attention = block.attention
        with torch.no_grad():
            layer.self_attn.in_proj_weight.copy_(torch.cat([attention.query.weight, attention.key_value.weight]))
            layer.self_attn.in_proj_bias.copy_(torch.cat([attention.query.bias, attention.key_value.bias]))
        for ours, theirs in (
            (attention.output, layer.self_attn.out_proj),
            (block.attention_norm, layer.norm1),
            (block.feedforward_norm, layer.norm2),
            (block.feedforward[0], layer.linear1),
            (block.feedforward[2], layer.linear2),
        ):
            theirs.load_state_dict(ours.state_dict())
        layers.append(layer)
    ids, mask = batch
    x = encoder.embedding(ids) * encoder.embedding.embedding_dim**0.5 + encoder.position_embedding.weight
    for layer in layers:
        x = layer(x, src_key_padding_mask=mask == 0)
    states = encoder.norm(x)
    expected = torch.stack([row[:length].mean(0) for row, length in zip(states, mask.sum(1), strict=True)])
    torch.testing.assert_close(encoder(ids, mask), expected, rtol=1e-5, atol=1e-6)


def test_a_text_longer_than_the_learned_positions(make_model):
    encoder = make_model(encoder=LEARNED).encoder
    ids = torch.ones(1, 10, dtype=torch.long)
    with pytest.raises(ValueError, match=r"10 tokens is longer than max_positions 9: raise model\.encoder"):
        encoder(ids, ids)
    assert make_model("transformer").encoder(ids, ids).shape == (1, 16)


def test_dropout_in_training_only(make_model, batch):
    encoder = make_model(encoder=LEARNED | {"dropout": 0.5}).encoder
    assert torch.equal(encoder(*batch), make_model(encoder=LEARNED).encoder(*batch))
    encoder.train()
    assert not torch.equal(encoder(*batch), encoder(*batch))


def test_feedforward_size_defaults_to_four_times_the_hidden_size(make_model):
    config = {key: value for key, value in LEARNED.items() if key != "feedforward_size"}
    assert make_model(encoder=config).encoder.blocks[0].feedforward[0].out_features == 64
