"""Pretrained decoders of every family: z enters exactly, with and without a cache, and its gradient comes back."""

import itertools

import pytest
import torch

from tests.pretrained import DECODERS
from textvae.configuration import TextVAEConfig
from textvae.decoders.seen_words import SeenWords
from textvae.layers.cross_entropy import bent
from textvae.modeling import TextVAEModel

D, V = 4, 40
SUBSETS = [s for n in (1, 2, 3, 4) for s in itertools.combinations(("memory", "prefix", "embedding", "output"), n)]


BESIDE = [
    {"embedding_size": 6, "hidden_size": 5, "inject": inject}
    for inject in (("initial",), ("concat", "output"), ("rotary",))
]


def make(family, inject=("memory", "embedding"), latent_size=D, vocab_size=V, eos_token_id=2, **keys):
    torch.manual_seed(0)
    decoder = {"kind": "pretrained", "name": "none", "architecture": DECODERS[family], "inject": inject} | keys
    config = TextVAEConfig(
        vocab_size=vocab_size,
        eos_token_id=eos_token_id,
        encoder={"kind": "recurrent", "embedding_size": 12, "hidden_size": 10},
        latent={"size": latent_size},
        decoder=decoder,
    )
    return TextVAEModel(config).eval()


@pytest.fixture
def z(batch):
    return 2 * torch.randn(len(batch[0]), D, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("inject", SUBSETS, ids="+".join)
@pytest.mark.parametrize("family", DECODERS)
def test_step_by_step_equals_the_whole(family, inject, slots, batch, z):
    decoder = make(family, inject, latent_slots=slots).decoder
    whole, state = decoder(batch[0], z).features, decoder.new_state()
    steps = [decoder(batch[0][:, t : t + 1], z, state).features for t in range(batch[0].shape[1])]
    assert state.get_seq_length() == batch[0].shape[1]
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-4, atol=1e-5)
    assert (whole - decoder(batch[0], z.roll(1, 0)).features).abs().amax(-1).min() > 1e-5


@pytest.mark.parametrize("inject", [("memory",), ("prefix",), ("memory", "prefix", "embedding")], ids="+".join)
@pytest.mark.parametrize("family", ["gemma2", "gemma3", "mistral", "qwen2"])
def test_texts_longer_than_a_sliding_window(family, inject, batch, z, monkeypatch):
    """What z becomes slides out of sight in the layers that have one, step by step and in the whole alike."""
    window = {"sliding_window": 4} | ({"use_sliding_window": True, "max_window_layers": 1} if family == "qwen2" else {})
    monkeypatch.setitem(DECODERS, family, DECODERS[family] | window)
    decoder = make(family, inject, latent_slots=2).decoder
    whole, state = decoder(batch[0], z).features, decoder.new_state()
    steps = [decoder(batch[0][:, t : t + 1], z, state).features for t in range(batch[0].shape[1])]
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-4, atol=1e-5)
    monkeypatch.setitem(DECODERS, family, DECODERS[family] | {"sliding_window": 64})
    far = make(family, inject, latent_slots=2).decoder
    far.load_state_dict(decoder.state_dict())
    assert (far(batch[0], z).features - whole).abs().max() > 1e-4  # the window does hide something


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("inject", [(), ("memory", "output")], ids=["", "memory+output"])
@pytest.mark.parametrize("family", DECODERS)
def test_with_a_decoder_beside_it(family, inject, beside, batch, z):
    """Logits are the sum of both decoders', with a cache and without; all of it is trained."""
    model = make(family, inject, beside=beside)
    decoder, (ids, mask) = model.decoder, batch
    whole, state = decoder.logits(decoder(ids, z).features), decoder.new_state()
    steps = [decoder.logits(decoder(ids[:, t : t + 1], z, state).features) for t in range(ids.shape[1])]
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-4, atol=1e-5)
    of_beside = decoder.beside.logits(decoder.beside(ids, z).features)
    alone = make(family, inject or ("output",), beside=None).decoder
    weights = {name: weight for name, weight in decoder.state_dict().items() if not name.startswith("beside.")}
    alone.load_state_dict(weights, strict=False)
    if inject:
        alone.softcap = None
        both = bent(alone.logits(alone(ids, z).features) + of_beside, decoder.softcap)
        torch.testing.assert_close(whole, both, rtol=1e-4, atol=1e-5)
    nll = -whole[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0] * mask[:, 1:]
    torch.testing.assert_close(model.distortion(ids, mask, z[None])[0], nll.sum(1), rtol=1e-4, atol=1e-4)
    moved = torch.cat([state.beside.layers[0][0][:, [0]], state.beside.layers[0][0][:, :-1]], 1)
    state.reorder_cache(torch.tensor([0, *range(len(ids) - 1)]))
    torch.testing.assert_close(state.beside.layers[0][0], moved)
    model.train().distortion(ids, mask, z[None]).sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in decoder.beside.parameters())


@pytest.mark.parametrize("family", DECODERS)
def test_alone_what_is_beside_it_predicts_the_words_of_the_corpus(family, batch, z):
    model = make(family, ("embedding",), beside=BESIDE[0]).train()
    decoder, (ids, mask) = model.decoder, batch
    counts = torch.bincount(ids[mask.bool()], minlength=V).float()
    counts[7] = 0  # a word that is in the texts, but not in the corpus
    decoder.alone = SeenWords(counts)
    logits = decoder.beside.logits(decoder.beside(ids[:, :-1], z).features).masked_fill(counts == 0, 0.0)
    base = ((counts + 1) / (counts + 1).sum()).log()
    nll = -(logits + base).log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0] * mask[:, 1:]
    distortion = model.distortion(ids, mask, z[None])
    torch.testing.assert_close(distortion[0], nll.sum(1), rtol=1e-4, atol=1e-4)
    distortion.sum().backward()
    assert {name.split(".")[0] for name, w in decoder.named_parameters() if w.grad is not None} == {"beside"}


@pytest.mark.parametrize("family", DECODERS)
def test_without_z_it_is_the_language_model(family, batch):
    decoder = make(family, latent_size=0).decoder
    expected = decoder.backbone(batch[0]).logits
    torch.testing.assert_close(decoder.logits(decoder(batch[0], torch.zeros(5, 0)).features), expected)


@pytest.mark.parametrize("family", DECODERS)
def test_padding_changes_nothing(family, batch, z):
    model = make(family)
    ids, mask = batch
    together = model.distortion(ids, mask, z[None])[0]
    for row in range(len(ids)):
        length = int(mask[row].sum())
        alone = model.distortion(ids[row : row + 1, :length], mask[row : row + 1, :length], z[None, row : row + 1])
        torch.testing.assert_close(alone[0, 0], together[row], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("train", ["none", "last", "all"])
@pytest.mark.parametrize("inject", SUBSETS, ids="+".join)
@pytest.mark.parametrize("family", DECODERS)
def test_gradient_reaches_z_and_what_is_trained(family, inject, train, batch, z):
    model = make(family, inject, train=train).train()
    z.requires_grad_(True)
    model.distortion(*batch, z[None]).sum().backward()
    assert (z.grad.abs().amax(1) > 1e-6).all()
    trained = [name for name, p in model.decoder.backbone.named_parameters() if p.requires_grad]
    assert bool(trained) == (train != "none")
    with_gradient = [n for n, p in model.decoder.backbone.named_parameters() if p.grad is not None and p.grad.any()]
    assert set(with_gradient) <= set(trained)
    assert train == "none" or len(with_gradient) > 0.8 * len(trained)


@pytest.mark.parametrize("family", DECODERS)
def test_words_without_order_leave_pretrained_word_vectors_alone(family, batch):
    model = make(family, ("embedding", "output"), train="all").train()
    model.log_frequencies = torch.zeros(V)
    model(*batch).distortion.sum().backward()
    trained = {name for name, weight in model.decoder.named_parameters() if weight.grad is not None}
    assert trained == {"output.weight"}
    assert model.posterior.mu.weight.grad.abs().max() > 0


@pytest.mark.parametrize("family", DECODERS)
def test_generation_equals_an_argmax_loop(family, z):
    model = make(family)
    ids, steps = torch.full((len(z), 1), 1), 6
    for _ in range(steps):
        logits = model(ids, z=z).logits[:, -1]
        logits[:, model.generation_config.suppress_tokens] = -torch.inf
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
    generated = model.generate(z=z, do_sample=False, max_new_tokens=steps, eos_token_id=None)
    assert torch.equal(generated, ids)


@pytest.mark.parametrize("train", ["none", "last"])
def test_an_end_of_text_that_would_not_be_learnt_is_refused(train):
    with pytest.raises(ValueError, match=r"model\.decoder\.train: \w+ leaves word vectors .* take train: all"):
        make("llama", vocab_size=V + 1, eos_token_id=V, train=train)
    make("llama", vocab_size=V + 1, eos_token_id=V, train="all")
    make("llama", vocab_size=V + 1, eos_token_id=2, train=train)


@pytest.mark.parametrize("family", DECODERS)
def test_save_and_load(family, batch, z, tmp_path):
    model = make(family, vocab_size=V + 3)  # three more than the pretrained vocabulary
    model.save_pretrained(tmp_path)
    again = TextVAEModel.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again.distortion(*batch, z[None]), model.distortion(*batch, z[None]))
