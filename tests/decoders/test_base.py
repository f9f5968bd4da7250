"""Word dropout and the softmax layer."""

import pytest
import torch

from tests.conftest import DECODERS
from textvae.configuration import TextVAEConfig
from textvae.modeling import TextVAEModel

UNK, MASK, BOS, EOS = 3, 4, 1, 2


@pytest.fixture
def ids():
    return torch.randint(0, 30, (50, 200), generator=torch.Generator().manual_seed(0))


def decoder_with(make_model, kind="gru", **keys):
    return make_model(decoder=DECODERS[kind] | keys).decoder


def test_word_dropout_in_training_only(make_model, ids):
    decoder = decoder_with(make_model, word_dropout=0.5)
    assert torch.equal(decoder.drop_words(ids), ids)
    assert not torch.equal(decoder.train().drop_words(ids), ids)


@pytest.mark.parametrize(("substitute", "expected"), [("unk", UNK), ("mask", MASK)])
def test_word_dropout_of_everything_leaves_bos_and_eos(make_model, ids, substitute, expected):
    decoder = decoder_with(make_model, word_dropout=1.0, word_dropout_with=substitute).train()
    kept = (ids == BOS) | (ids == EOS)
    assert torch.equal(decoder.drop_words(ids), torch.where(kept, ids, expected))


@pytest.mark.parametrize("p", [0.1, 0.6])
def test_word_dropout_share(make_model, ids, p):
    torch.manual_seed(0)
    words = ids.clamp_min(5)
    dropped = decoder_with(make_model, word_dropout=p).train().drop_words(words)
    assert (dropped == UNK).float().mean().item() == pytest.approx(p, abs=0.02)
    assert torch.equal(dropped[dropped != UNK], words[dropped != UNK])
    assert (dropped == UNK).float().mean(0).std() > 0.01  # not the same positions in every sentence


@pytest.mark.parametrize("kind", DECODERS)
def test_word_dropout_hides_inputs_not_targets(make_model, batch, kind):
    """With all words hidden, sentences of one length differ in what is predicted only."""
    model = make_model(decoder=DECODERS[kind] | {"word_dropout": 1.0})
    model.decoder.train()
    ids = torch.tensor([[1, 10, 11, 12, 2], [1, 20, 21, 22, 2]])
    z = torch.ones(2, 4)
    features = model.decoder(ids[:, :-1], z).features
    torch.testing.assert_close(features[0], features[1])
    distortion = model.distortion(ids, torch.ones_like(ids), z[None])
    assert (distortion[0, 0] - distortion[0, 1]).abs() > 1e-3


def test_word_dropout_without_a_token_to_put_in(make_model):
    config = {"vocab_size": 30, "latent": {"size": 4}, "unk_token_id": None}
    decoder = DECODERS["gru"] | {"word_dropout": 0.1}
    with pytest.raises(ValueError, match=r"word_dropout_with: the tokenizer has no unk token"):
        TextVAEModel(TextVAEConfig(**config, decoder=decoder))
    TextVAEModel(TextVAEConfig(**config, decoder=decoder | {"word_dropout_with": "mask"}))
    TextVAEModel(TextVAEConfig(**config, decoder=decoder | {"word_dropout": 0.0}))


@pytest.mark.parametrize("kind", sorted(DECODERS.keys() - {"gru-anchored"}))
@pytest.mark.parametrize("tied", [True, False])
def test_tying(make_model, kind, tied):
    decoder = decoder_with(make_model, kind, tie_embeddings=tied)
    assert (decoder.softmax_weight is decoder.embedding.weight) == tied
    assert hasattr(decoder, "softmax") != tied


@pytest.mark.parametrize("tied", [True, False])
def test_tying_to_anchored_vectors(make_model, tied):
    """The table is a sum, made anew each time: the softmax layer is tied where it follows and trains the changes."""
    decoder = decoder_with(make_model, "gru-anchored", tie_embeddings=tied)
    assert torch.equal(decoder.softmax_weight, decoder.embedding.weight) == tied
    assert hasattr(decoder, "softmax") != tied
    decoder.logits(torch.ones(1, decoder.softmax_weight.shape[1])).sum().backward()
    assert (decoder.embedding.change.weight.grad is not None) == tied


def test_logits_in_bfloat16_are_returned_in_float32(make_model):
    decoder = decoder_with(make_model)
    features = torch.randn(3, 12, generator=torch.Generator().manual_seed(0))
    logits = decoder.logits(features.bfloat16())
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, decoder.logits(features), rtol=0.05, atol=0.02)
