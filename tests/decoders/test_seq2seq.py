"""Decoders of encoder-decoders: what they attend to is made of z."""

import pytest
import torch
import torch.nn.functional as F
from transformers.modeling_outputs import BaseModelOutput

from tests.pretrained import SEQ2SEQ
from textvae.configuration import TextVAEConfig
from textvae.modeling import TextVAEModel

D, V = 4, 40


def make(family, inject=("cross",), latent_size=D, bos_token_id=1, **keys):
    torch.manual_seed(0)
    decoder = {"kind": "seq2seq", "name": "none", "architecture": SEQ2SEQ[family], "inject": inject} | keys
    encoder = {"kind": "recurrent", "embedding_size": 12, "hidden_size": 10}
    ids = {"vocab_size": V, "bos_token_id": bos_token_id}
    config = TextVAEConfig(**ids, encoder=encoder, latent={"size": latent_size}, decoder=decoder)
    return TextVAEModel(config).eval()


@pytest.fixture
def z(batch):
    return 2 * torch.randn(len(batch[0]), D, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("inject", [("cross",), ("cross", "embedding")], ids="+".join)
@pytest.mark.parametrize("family", SEQ2SEQ)
def test_step_by_step_equals_the_whole(family, inject, slots, batch, z):
    decoder = make(family, inject, latent_slots=slots).decoder
    whole, state = decoder(batch[0], z).features, decoder.new_state()
    steps = [decoder(batch[0][:, t : t + 1], z, state).features for t in range(batch[0].shape[1])]
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-4, atol=1e-5)
    assert (whole - decoder(batch[0], z.roll(1, 0)).features).abs().amax(-1).min() > 1e-7


@pytest.mark.parametrize("family", SEQ2SEQ)
def test_it_is_the_pretrained_decoder(family, batch, z):
    """Its logits are those of the whole encoder-decoder, given the same states to attend to and the same start."""
    decoder = make(family).decoder
    start = getattr(decoder.backbone.config, "decoder_start_token_id", None)
    started = F.pad(batch[0], (1, 0), value=start) if start is not None else batch[0]
    tokens = decoder.latent_tokens(z).view(len(z), -1, 16)
    states = BaseModelOutput(last_hidden_state=tokens)
    expected = decoder.backbone(decoder_input_ids=started, encoder_outputs=states).logits
    expected = expected[:, -batch[0].shape[1] :]
    torch.testing.assert_close(decoder.logits(decoder(batch[0], z).features), expected, rtol=1e-4, atol=1e-5)


def test_a_text_that_is_too_long_is_refused(z):
    decoder = make("bart").decoder
    decoder(torch.ones(len(z), 63, dtype=torch.long), z)
    with pytest.raises(ValueError, match="a text of 64 tokens is longer than none can read, which is 63"):
        decoder(torch.ones(len(z), 64, dtype=torch.long), z)


def test_a_start_that_is_bos_is_not_read_twice(batch, z):
    """T5's tokenizer has no bos, and its start stands in; BART's starts with eos, then bos."""
    t5 = make("t5", bos_token_id=0).decoder
    states = BaseModelOutput(last_hidden_state=t5.latent_tokens(z).view(len(z), -1, 16))
    expected = t5.backbone(decoder_input_ids=batch[0], encoder_outputs=states).logits
    torch.testing.assert_close(t5.logits(t5(batch[0], z).features), expected, rtol=1e-4, atol=1e-5)
    assert make("bart").decoder.start == [2]


@pytest.mark.parametrize("family", SEQ2SEQ)
def test_gradient_reaches_z(family, batch, z):
    model = make(family).train()
    z.requires_grad_(True)
    model.distortion(*batch, z[None]).sum().backward()
    assert (z.grad.abs().amax(1) > 1e-9).all()


@pytest.mark.parametrize("family", SEQ2SEQ)
def test_generation_equals_an_argmax_loop(family, z):
    model = make(family)
    ids, steps = torch.full((len(z), 1), 1), 6
    for _ in range(steps):
        logits = model(ids, z=z).logits[:, -1]
        logits[:, model.generation_config.suppress_tokens] = -torch.inf
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
    assert torch.equal(model.generate(z=z, do_sample=False, max_new_tokens=steps, eos_token_id=None), ids)


@pytest.mark.parametrize("family", SEQ2SEQ)
def test_save_and_load(family, batch, z, tmp_path):
    model = make(family)
    model.save_pretrained(tmp_path)
    again = TextVAEModel.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again.distortion(*batch, z[None]), model.distortion(*batch, z[None]))


@pytest.mark.parametrize("family", SEQ2SEQ)
def test_the_layers_of_its_encoder_are_left_out(family):
    names = [name for name, _ in make(family).decoder.backbone.named_parameters()]
    assert any("decoder.block.1" in name or "decoder.layers.1" in name for name in names)
    assert not any("encoder.block" in name or "encoder.layers" in name for name in names)


@pytest.mark.parametrize("family", SEQ2SEQ)
def test_the_last_layer_that_is_trained_is_the_decoders(family):
    backbone = make(family, train="last", last_layers=1).decoder.backbone
    trained = {name for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained
    assert all("decoder.block.1." in name or "decoder.layers.1." in name for name in trained)
