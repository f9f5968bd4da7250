"""The transformer decoder: where z enters, positions, errors."""

import itertools

import pytest
import torch
from torch import nn

PLACES = ("memory", "embedding", "output", "cross", "rotary")
SUBSETS = [s for n in range(1, 6) for s in itertools.combinations(PLACES, n)]
SMALL = {"kind": "transformer", "hidden_size": 16, "num_heads": 2, "num_layers": 2, "dropout": 0.0}
D = 4


def make_decoder(make_model, **keys):
    return make_model(decoder=SMALL | keys).decoder


@pytest.fixture
def z(batch):
    return torch.randn(len(batch[0]), D, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("inject", SUBSETS, ids="+".join)
def test_z_enters_and_steps_agree(make_model, batch, z, inject, slots):
    decoder = make_decoder(make_model, inject=inject, latent_slots=slots)
    whole, state = decoder(batch[0], z).features, decoder.new_state()
    steps = [decoder(batch[0][:, t : t + 1], z, state).features for t in range(batch[0].shape[1])]
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-4, atol=1e-5)
    assert (whole - decoder(batch[0], z.roll(1, 0)).features).abs().amax(-1).min() > 1e-4


def test_where_dropout_acts(make_model, batch, z):
    """On word vectors, attention weights and what each part adds."""
    decoder = make_decoder(make_model, dropout=0.3).train()
    calls = {}
    for name, module in decoder.named_modules():
        if isinstance(module, nn.Dropout):
            assert module.p == 0.3
            module.register_forward_hook(lambda *_, name=name: calls.update({name: calls.get(name, 0) + 1}))
    decoder(batch[0], z)
    assert calls == {"drop": 1, "blocks.0.drop": 2, "blocks.1.drop": 2}
    assert all(block.attention.dropout == 0.3 for block in decoder.blocks)


@pytest.mark.parametrize(
    ("part", "own"),
    [
        ("memory", {"memory"}),
        ("embedding", {"latent_embedding"}),
        ("output", {"output"}),
        ("rotary", {"rotary", "recall"}),
    ],
)
def test_only_the_chosen_layers_exist(make_model, part, own):
    names = {name for name, _ in make_decoder(make_model, inject=(part,)).named_children()}
    assert names == {"embedding", "drop_words", "drop", "blocks", "norm", "projection"} | own


def test_rotary_z_is_added_on_both_sides_of_the_blocks(make_model, batch, z):
    """With blocks, norm and projection taken out, features are word vectors + memory + recall(memory)."""
    decoder = make_decoder(make_model, inject=("rotary",))
    decoder.blocks, decoder.norm, decoder.projection = torch.nn.ModuleList(), torch.nn.Identity(), torch.nn.Identity()
    memory = decoder.rotary(z, 1, batch[0].shape[1])
    expected = decoder.embedding(batch[0]) * 16**0.5 + memory + decoder.recall(memory)
    torch.testing.assert_close(decoder(batch[0], z).features, expected)


def test_z_goes_past_the_blocks_to_the_softmax(make_model, batch, z):
    """The skip connection: features are those of the blocks plus output(z), at every position."""
    decoder = make_decoder(make_model, inject=("output",))
    told = decoder(batch[0], z).features - decoder(batch[0], torch.zeros_like(z)).features
    torch.testing.assert_close(told, decoder.output(z)[:, None].expand_as(told), rtol=1e-4, atol=1e-5)


def test_projection_stands_before_a_tied_softmax_alone(make_model):
    tied, untied = (make_decoder(make_model, tie_embeddings=tie).projection for tie in (True, False))
    assert tied.weight.shape == (16, 16)
    assert isinstance(untied, torch.nn.Identity)


def test_slots_are_per_layer_and_head(make_model, z):
    decoder = make_decoder(make_model, inject=("memory",), latent_slots=3)
    flat = decoder.memory(z)  # layer, key or value, slot, head, feature
    for layer, parts in enumerate(decoder.slots(z)):
        for which, part in enumerate(parts):
            assert part.shape == (len(z), 2, 3, 8)
            for head, slot in itertools.product(range(2), range(3)):
                start = ((layer * 2 + which) * 3 + slot) * 16 + head * 8
                assert torch.equal(part[:, head, slot], flat[:, start : start + 8])


@pytest.mark.parametrize("inject", SUBSETS, ids="+".join)
def test_gradient_reaches_every_slot(make_model, batch, z, inject):
    decoder = make_decoder(make_model, inject=inject, latent_slots=2)
    (decoder(batch[0], z).features ** 3).sum().backward()
    for name in ("memory", "latent_embedding", "latent_tokens"):
        if hasattr(decoder, name):
            # A softmax does not see what is common to all keys; the keys of the two slots still differ.
            assert (getattr(decoder, name).weight.grad.abs().amax(1) > 0).all()


def test_a_text_longer_than_the_learned_positions(make_model, z):
    decoder = make_decoder(make_model, positions="learned", max_positions=5)
    ids, state = torch.ones(len(z), 6, dtype=torch.long), decoder.new_state()
    message = r"6 tokens is longer than max_positions 5: raise model\.decoder"
    with pytest.raises(ValueError, match=message):
        decoder(ids, z)
    decoder(ids[:, :5], z, state)
    with pytest.raises(ValueError, match=message):
        decoder(ids[:, 5:], z, state)


def test_dropout_in_training_only(make_model, batch, z):
    decoder = make_decoder(make_model, dropout=0.5)
    assert torch.equal(decoder(batch[0], z).features, make_decoder(make_model)(batch[0], z).features)
    decoder.train()
    assert not torch.equal(decoder(batch[0], z).features, decoder(batch[0], z).features)


@pytest.mark.parametrize("key", ["dropout", "embedding_dropout", "word_dropout"])
def test_every_kind_of_dropout_does_something(make_model, batch, z, key):
    decoder = make_decoder(make_model, **{key: 0.5}).train()
    assert not torch.equal(decoder(batch[0], z).features, decoder(batch[0], z).features)
