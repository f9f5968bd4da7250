"""TextVAEConfig: defaults, round trips, AutoConfig, and messages about wrong values."""

import json

import pytest
from transformers import AutoConfig

import textvae.modeling  # noqa: F401 - registers the configuration with AutoConfig
from tests.conftest import DECODERS, ENCODERS
from textvae import registry
from textvae.configuration import TextVAEConfig

CASES = [(encoder, decoder) for encoder in ENCODERS for decoder in DECODERS]


@pytest.mark.parametrize(("encoder", "decoder"), CASES)
def test_round_trip(tmp_path, encoder, decoder):
    config = TextVAEConfig(
        vocab_size=30, encoder=ENCODERS[encoder], latent={"size": 4}, decoder=DECODERS[decoder], unk_token_id=None
    )
    config.save_pretrained(tmp_path)
    for again in (TextVAEConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert isinstance(again, TextVAEConfig)
        for name in ("vocab_size", "encoder", "latent", "decoder", "unk_token_id", "mask_token_id", "pad_token_id"):
            # JSON knows lists only, so a tuple such as `inject` must come back as what it was.
            assert getattr(again, name) == getattr(config, name), name


def test_the_file_holds_every_key(tmp_path):
    """A later change of a default must not change a saved model."""
    TextVAEConfig(vocab_size=30).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["model_type"] == "textvae"
    assert saved["latent"] == {
        "size": 32,
        "posterior": {"kind": "gaussian", "batch_norm": None},
        "prior": {"kind": "standard"},
    }
    for family in ("encoder", "decoder"):
        expected = registry.resolve(family, "recurrent", family)
        assert saved[family] == json.loads(json.dumps(expected))


def test_short_forms():
    config = TextVAEConfig(
        vocab_size=30, encoder="transformer", decoder="transformer", latent={"posterior": "gaussian"}
    )
    assert config.encoder["kind"] == config.decoder["kind"] == "transformer"
    assert config.latent_size == 32


def test_is_its_own_text_configuration():
    config = TextVAEConfig(vocab_size=30)
    assert config.get_text_config(decoder=True) is config


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"encoder": {"kind": "recurent"}},
            "model.encoder.kind: unknown encoder 'recurent'; did you mean 'recurrent'?",
        ),
        ({"encoder": {}}, "model.encoder.kind: this key is required; known: pretrained, recurrent, transformer"),
        ({"encoder": 3}, "model.encoder: 3 is not a mapping of keys to values"),
        (
            {"encoder": {"kind": "recurrent", "hiden_size": 3}},
            "model.encoder.hiden_size: unknown key; did you mean 'hi",
        ),
        ({"encoder": {"kind": "recurrent", "hidden_size": 0}}, "model.encoder.hidden_size: 0 is not allowed; "),
        ({"encoder": {"kind": "recurrent", "pooling": "min"}}, "model.encoder.pooling: 'min' is not allowed; "),
        (
            {"encoder": {"kind": "recurrent", "pooling": "rotary", "bidirectional": False, "hidden_size": 7}},
            "model.encoder: states for rotary pooling must have an even size, to be turned in pairs; 7 is odd",
        ),
        (
            {"decoder": {"kind": "recurrent", "inject": ["rotary"], "embedding_size": 7}},
            "model.decoder: word vectors beside rotary in inject must have an even size, to be turned in pairs; 7",
        ),
        ({"encoder": {"kind": "recurrent", "dropout": 1}}, "model.encoder.dropout: 1 is not allowed; "),
        (
            {"encoder": {"kind": "transformer", "hidden_size": 12, "num_heads": 4}},
            "model.encoder: hidden_size 12 must be divisible by twice num_heads 4",
        ),
        ({"decoder": {"kind": "recurrent", "word_dropout": 1.5}}, "model.decoder.word_dropout: 1.5 is not allowed; "),
        (
            {"decoder": {"kind": "recurrent", "inject": []}},
            "model.decoder.inject: [] is not allowed; name at least one",
        ),
        (
            {"decoder": {"kind": "transformer", "inject": ["cross", "cross"]}},
            "model.decoder.inject: ['cross', 'cross']",
        ),
        (
            {"decoder": {"kind": "transformer", "inject": ["initial"]}},
            "model.decoder.inject.0: 'initial' is not allowed",
        ),
        ({"latent": {"size": -1}}, "model.latent.size: -1 is not allowed; "),
        ({"latent": {"size": 2.5}}, "model.latent.size: 2.5 is not allowed; "),
        ({"latent": {"sise": 3}}, "model.latent.sise: unknown key; did you mean 'size'?"),
        (
            {"latent": {"prior": "standart"}},
            "model.latent.prior.kind: unknown prior 'standart'; did you mean 'standard'?",
        ),
        (
            {"latent": {"posterior": {"kind": "gaussian", "x": 1}}},
            "model.latent.posterior.x: unknown key; ",
        ),
        ({"latent": {"posterior": "vmf"}}, "model.latent.prior: 'standard' does not go with posterior 'vmf': a vmf "),
        ({"latent": {"prior": "uniform"}}, "model.latent.prior: 'uniform' does not go with posterior 'gaussian': a "),
        ({"latent": {"posterior": "deterministic", "prior": "vamp"}}, "model.latent.prior: 'vamp' does not go with "),
        (
            {"latent": {"size": 1, "posterior": "vmf", "prior": "uniform"}},
            "model.latent.size: 1 is too few for posterior 'vmf'",
        ),
        ({"latent": {"posterior": {"kind": "gaussian", "batch_norm": 0}}}, "model.latent.posterior.batch_norm: 0 is "),
        ({"latent": {"posterior": {"kind": "vmf", "concentration": 0}}}, "model.latent.posterior.concentration: 0 is "),
        ({"latent": {"posterior": 3}}, "model.latent.posterior: 3 is not "),
        ({"vocab_size": "many"}, "vocab_size: 'many' is not allowed; "),
        ({"vocab_size": -1}, "vocab_size: -1 is not allowed; "),
    ],
)
def test_messages(keys, expected):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is compared below
        TextVAEConfig(**{"vocab_size": 30} | keys)
    assert str(error.value).startswith(expected)
    assert "\n" not in str(error.value)
