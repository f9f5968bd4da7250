"""Pretrained encoders of every family: padding, order, what is trained, save and load."""

import pytest
import torch

from tests.pretrained import ENCODERS
from textvae.configuration import TextVAEConfig
from textvae.modeling import TextVAEModel


def make(family, **keys):
    torch.manual_seed(0)
    encoder = {"kind": "pretrained", "name": "none", "architecture": ENCODERS[family]} | keys
    decoder = {"kind": "recurrent", "embedding_size": 12, "hidden_size": 14}
    return TextVAEModel(TextVAEConfig(vocab_size=40, encoder=encoder, latent={"size": 4}, decoder=decoder)).eval()


@pytest.mark.parametrize("word_sum", [False, True], ids=["states", "words-too"])
@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention", "rotary"])
@pytest.mark.parametrize("family", ENCODERS)
def test_padding_and_order_change_nothing(family, pooling, word_sum, batch):
    model = make(family, pooling=pooling, word_sum=word_sum)
    ids, mask = batch
    together = model.encode(ids, mask).mean
    for row in range(len(ids)):
        length = int(mask[row].sum())
        alone = model.encode(ids[row : row + 1, :length], mask[row : row + 1, :length]).mean
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-5)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(model.encode(ids[order], mask[order]).mean, together[order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ENCODERS)
def test_the_sum_of_word_vectors_stands_beside_the_states(family, batch):
    ids, mask = batch
    plain, both = make(family).encoder(ids, mask), make(family, word_sum=True).encoder
    vectors = both.backbone.get_input_embeddings()(ids) * both.backbone.get_input_embeddings().embedding_dim ** 0.5
    length = mask.sum(1)
    words = [vectors[row, : length[row]].sum(0) / length[row] ** 0.5 for row in range(len(ids))]
    torch.testing.assert_close(both(ids, mask), torch.cat([plain, torch.stack(words)], -1))
    assert both.output_size == both(ids, mask).shape[1]


@pytest.mark.parametrize("pooling", ["first", "last", "mean", "max", "attention", "rotary"])
@pytest.mark.parametrize("family", ENCODERS)
def test_what_is_tried_before_training(family, pooling):
    encoder = make(family, pooling=pooling).train().encoder
    if (family, pooling) == ("llama", "first"):
        with pytest.raises(ValueError, match=r"model\.encoder\.pooling: first takes a state of none that knows"):
            encoder.check_family()
    else:
        encoder.check_family()
        assert encoder.training


@pytest.mark.parametrize("word_sum", [False, True])
def test_attention_over_a_frozen_encoder_is_trained(word_sum, batch):
    model = make("bert", train="none", pooling="attention", word_sum=word_sum).train()
    model.encode(*batch).mean.square().sum().backward()
    assert model.encoder.pooling.score.weight.grad.any()


@pytest.mark.parametrize("train", ["none", "last", "lora", "all"])
@pytest.mark.parametrize("family", ENCODERS)
def test_what_is_trained(family, train, batch):
    if train == "lora":
        pytest.importorskip("peft", reason="the extra lora is not installed")
    model = make(family, train=train, last_layers=1).train()
    model.encode(*batch).mean.square().sum().backward()
    with_gradient = [n for n, p in model.encoder.backbone.named_parameters() if p.grad is not None]
    if train == "none":
        assert not with_gradient
        assert not model.encoder.backbone.training
    else:
        all_names = [n for n, _ in model.encoder.backbone.named_parameters()]
        assert 0 < len(with_gradient) <= len(all_names)
        assert (len(with_gradient) < 0.75 * len(all_names)) == (train != "all")
        assert all(".lora_" in name for name in with_gradient) == (train == "lora")


def test_how_much_it_reads():
    """Of what it has positions for; XLNet, whose are relative, says -1."""
    assert make("bert").encoder.reads_at_most == 64
    assert make("roberta").encoder.reads_at_most == 62
    assert make("xlnet").encoder.reads_at_most is make("t5").encoder.reads_at_most is None


@pytest.mark.parametrize("family", ENCODERS)
def test_save_and_load(family, batch, tmp_path):
    model = make(family)
    model.save_pretrained(tmp_path)
    again = TextVAEModel.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again.encode(*batch).mean, model.encode(*batch).mean)
