"""TextVAEModel: what it returns, how it is saved and loaded, and that encoders and decoders combine."""

import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import AutoModel, GenerationConfig

from tests.conftest import DECODERS, ENCODERS
from tests.contract import assert_gradient_everywhere, assert_same_state, disturbed, needs_bfloat16, reloaded
from textvae import registry
from textvae.configuration import TextVAEConfig
from textvae.modeling import TextVAEModel

S, B, D, V = 3, 5, 4, 30
PAIRS = [(encoder, decoder) for encoder in ENCODERS for decoder in DECODERS]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("num_samples", [1, S])
def test_output_shapes(make_model, batch, num_samples):
    output = make_model()(*batch, num_samples=num_samples)
    shapes = {name: tuple(output[name].shape) for name in output if torch.is_tensor(output[name])}
    assert shapes == {
        "z": (num_samples, B, D),
        "log_q": (num_samples, B),
        "log_p": (num_samples, B),
        "distortion": (num_samples, B),
        "rate": (B,),
        "rate_per_dimension": (B, D),
    }
    assert output.q.mean.shape == (B, D)


def test_output_agrees_with_the_parts(make_model, batch):
    model = make_model()
    output = model(*batch, num_samples=S, generator=generator())
    q = model.encode(*batch)
    z = q.rsample(S, generator())
    torch.testing.assert_close(output.z, z)
    torch.testing.assert_close(output.log_q, q.log_prob(z))
    torch.testing.assert_close(output.log_p, model.prior.log_prob(z))
    torch.testing.assert_close(output.distortion, model.distortion(*batch, z))
    torch.testing.assert_close(output.rate, output.rate_per_dimension.sum(1))


@pytest.mark.parametrize("decoder", DECODERS)
def test_distortion_by_hand(make_model, batch, decoder):
    """Sum of the cross entropy of each token after bos, one sentence and one latent at a time."""
    model = disturbed(make_model(decoder=decoder))
    z = torch.randn(S, B, D, generator=generator())
    expected = torch.zeros(S, B)
    for s in range(S):
        for b, (ids, length) in enumerate(zip(batch[0], batch[1].sum(1), strict=True)):
            logits = model(ids[None, : length - 1], z=z[s, b : b + 1]).logits[0]
            expected[s, b] = F.cross_entropy(logits, ids[1:length], reduction="sum")
    torch.testing.assert_close(model.distortion(*batch, z), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("decoder", ["lstm2-all", "gru-untied-output"])
def test_word_distortion_by_hand(make_model, batch, decoder):
    """One word at a time, from what is added before the softmax alone; more rows than are taken at once."""
    model = disturbed(make_model(decoder=decoder))
    model.log_frequencies = torch.rand(V, generator=generator(1)).log()
    z = torch.randn(S, B, D, generator=generator())
    expected = torch.zeros(S, B)
    for s in range(S):
        for b in range(B):
            scores = model.log_frequencies + model.decoder.softmax_weight @ (model.decoder.output.weight @ z[s, b])
            for word in batch[0][b, 1 : int(batch[1][b].sum())]:
                expected[s, b] -= scores.softmax(0)[word].log()
    torch.testing.assert_close(model.distortion(*batch, z), expected, rtol=1e-4, atol=1e-4)
    many = [tensor.repeat(100, 1) for tensor in batch]
    torch.testing.assert_close(
        model.distortion(*many, z.repeat(1, 100, 1)), expected.repeat(1, 100), rtol=1e-4, atol=1e-4
    )
    output = model(*batch, num_samples=S, generator=generator())
    torch.testing.assert_close(output.distortion, model.word_distortion(*batch, output.z))


@pytest.mark.parametrize("decoder", DECODERS)
def test_padding_counts_nothing_whether_it_is_skipped_or_not(make_model, batch, decoder, monkeypatch):
    """What an accelerator computes is what a processor does, in value and gradient."""
    model, found = disturbed(make_model(decoder=decoder)), []
    z = torch.randn(S, B, D, generator=generator())
    plain = TextVAEModel._nll_of_rows
    for skip_padding in (True, False):
        monkeypatch.setattr(
            TextVAEModel, "_nll_of_rows", lambda self, *rows, skip=skip_padding, **_: plain(self, *rows, skip)
        )
        distortion = model.distortion(*batch, z)
        found.append((distortion, *torch.autograd.grad(distortion.square().sum(), list(model.decoder.parameters()))))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_without_a_mask_every_token_counts(make_model):
    model, ids = make_model(), torch.tensor([[1, 7, 8, 2], [1, 9, 10, 2]])
    with_mask, without = (model(ids, mask, generator=generator()).distortion for mask in (torch.ones_like(ids), None))
    assert torch.equal(with_mask, without)


def test_encoder_reads_its_own_input(make_model, batch):
    """Noised encoder input changes q, and what is scored stays the same."""
    model, noised = make_model(), batch[0].flip(1)[:, :6].contiguous()
    output = model(*batch, encoder_input_ids=noised, encoder_attention_mask=torch.ones_like(noised))
    q = model.encode(noised, torch.ones_like(noised))
    assert torch.equal(output.q.mean, q.mean)
    assert not torch.equal(output.q.mean, model.encode(*batch).mean)
    assert torch.equal(output.distortion, model.distortion(*batch, output.z))
    assert torch.equal(model(*batch, encoder_input_ids=noised).q.mean, q.mean)


def test_generator_decides_about_z(make_model, batch):
    model = make_model()
    one, two, other = (model(*batch, generator=generator(seed)).z for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_prior_samples(make_model):
    model = make_model()
    assert model.sample_prior(6, generator()).shape == (6, D)
    assert torch.equal(model.sample_prior(6, generator()), model.sample_prior(6, generator()))


@pytest.mark.parametrize(("encoder", "decoder"), PAIRS)
@pytest.mark.parametrize("autocast", [False, pytest.param(True, marks=needs_bfloat16)], ids=["float32", "bfloat16"])
def test_every_pair_trains(make_model, batch, encoder, decoder, autocast):
    """Gradient reaches every parameter; under autocast what is reduced stays in float32 and near the exact value."""
    model = disturbed(make_model(encoder, decoder))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = model(*batch, generator=generator())
    loss = output.distortion.mean() + output.rate.mean()
    loss.backward()
    assert_gradient_everywhere(model)
    assert output.distortion.dtype == output.rate.dtype == output.z.dtype == torch.float32
    with torch.no_grad():
        exact = model(*batch, generator=generator())
    torch.testing.assert_close(output.distortion, exact.distortion, rtol=0.02, atol=0)
    torch.testing.assert_close(output.rate, exact.rate, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("decoder", DECODERS)
def test_plain_language_model(make_model, batch, decoder):
    model = make_model(decoder=decoder, latent_size=0)
    output = model(*batch, num_samples=2)
    assert output.q is None
    assert output.z.shape == (2, B, 0)
    assert not output.rate.any()
    assert torch.equal(output.distortion[0], output.distortion[1])
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"decoder"}
    loss = registry.build("objective", "elbo")(output, 1.0).loss
    torch.testing.assert_close(loss, output.distortion.mean())
    loss.backward()
    assert_gradient_everywhere(model)


def test_plain_language_model_has_nothing_to_encode(make_model, batch):
    model = make_model(latent_size=0)
    with pytest.raises(ValueError, match=r"plain language model \(model\.latent\.size is 0\)"):
        model.encode(*batch)
    assert model.sample_prior(3).shape == (3, 0)


@pytest.mark.parametrize("latent_size", [D, 0])
@pytest.mark.parametrize("tied", [True, False])
def test_save_and_load(make_model, batch, tmp_path, latent_size, tied):
    decoder = DECODERS["lstm2-all"] | {"tie_embeddings": tied}
    model = disturbed(make_model(decoder=decoder, latent_size=latent_size))
    copy = reloaded(model, tmp_path)
    assert_same_state(model, copy)
    one, two = (m(*batch, generator=generator()) for m in (model, copy))
    assert torch.equal(one.distortion, two.distortion)
    assert torch.equal(one.rate, two.rate)
    assert copy.config.to_dict() == model.config.to_dict() | {"_name_or_path": str(tmp_path)}


def test_files_of_a_run_folder(make_model, tmp_path):
    make_model().save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json",
        "model.safetensors",
        "generation_config.json",
    }
    saved = json.loads((tmp_path / "generation_config.json").read_text())
    assert {key: saved[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id", "suppress_tokens")} == {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "suppress_tokens": [0, 1, 3, 4],
    }
    assert GenerationConfig.from_pretrained(tmp_path).eos_token_id == 2


def test_auto_model_knows_it(make_model, tmp_path):
    model = disturbed(make_model())
    model.save_pretrained(tmp_path)
    copy = AutoModel.from_pretrained(tmp_path)
    assert type(copy) is TextVAEModel
    assert_same_state(model, copy)
    assert type(AutoModel.from_config(model.config)) is TextVAEModel


def test_settings_of_generation_survive(make_model, tmp_path):
    model = make_model()
    model.generation_config.repetition_penalty = 1.3
    assert reloaded(model, tmp_path).generation_config.repetition_penalty == 1.3


def test_a_token_that_ends_and_pads_may_be_generated():
    """Some pretrained tokenizers have one token for everything."""
    small = {"kind": "recurrent", "embedding_size": 6, "hidden_size": 6}
    ids = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "unk_token_id"), 7)
    model = TextVAEModel(TextVAEConfig(vocab_size=9, encoder=small, decoder=small, mask_token_id=None, **ids))
    assert not model.generation_config.suppress_tokens


@pytest.mark.parametrize("decoder", DECODERS)
def test_what_a_checkpoint_lacks_is_initialised(make_model, batch, tmp_path, decoder):
    """Weights that a checkpoint does not hold are made anew, never left as uninitialised memory."""
    model = disturbed(make_model(decoder=decoder))
    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    kept = {name: value for name, value in state.items() if name.startswith("encoder")}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    copy = TextVAEModel.from_pretrained(tmp_path)
    assert_same_state(model.encoder, copy.encoder)
    assert not copy.decoder.softmax_bias.any()
    fresh = make_model(decoder=decoder, seed=3)
    for (name, value), other in zip(copy.named_parameters(), fresh.parameters(), strict=True):
        if name.startswith(("decoder", "posterior")):
            assert value.abs().max() <= 1.5 * other.abs().max() + 1e-6, name


def test_initial_bound_is_that_of_guessing(make_model, batch):
    """A fresh model knows nothing: about log V nats a token, and little rate."""
    output = make_model()(*batch)
    per_token = output.distortion[0] / (batch[1].sum(1) - 1)
    torch.testing.assert_close(per_token, torch.full((B,), float(V)).log(), rtol=0.05, atol=0)
    assert output.rate.max() < 2
