"""Generation through GenerationMixin, for every decoder, against explicit loops and enumeration."""

import itertools
from collections import Counter

import pytest
import torch
from transformers import TextIteratorStreamer
from transformers.generation import BaseStreamer

from tests.conftest import DECODERS
from tests.contract import needs_bfloat16

D, V, B, STEPS = 4, 30, 6, 14
PAD, BOS, EOS, UNK, MASK = range(5)
NEVER = [PAD, BOS, UNK, MASK]


def sharpened(model, scale=4.0):
    """A model whose next-token distributions are far from uniform and depend on z, so that choices matter."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, p in model.decoder.named_parameters():
            if "norm" not in name:
                p.copy_(p * scale + 0.1 * torch.randn(p.shape, generator=generator))
    return model


@pytest.fixture(params=DECODERS)
def model(request, make_model):
    return sharpened(make_model(decoder=request.param, latent_size=D, vocab_size=V))


@pytest.fixture
def z():
    return 1.5 * torch.randn(B, D, generator=torch.Generator().manual_seed(3))


def greedy(model, z, **options):
    return model.generate(z=z, **{"do_sample": False, "max_new_tokens": STEPS} | options)


def log_likelihood(model, ids, z):
    """Sum of log p of the tokens after bos up to the first eos: (N,T), (N,D) -> (N,)."""
    log_p = model(ids[:, :-1], z=z).logits.log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
    ended = (ids[:, :-1] == EOS).cumsum(1) > 0
    return log_p.masked_fill(ended, 0).sum(1)


def words(row):
    """Ids of a generated row between bos and eos."""
    row = row[1:]
    return row[: row.index(EOS)] if EOS in row else row


def test_greedy_equals_an_argmax_loop(model, z):
    """The loop reads the whole sentence anew at every step, so it says something about the state as well."""
    ids, done = torch.full((B, 1), BOS), torch.zeros(B, dtype=torch.bool)
    while ids.shape[1] <= STEPS and not done.all():
        logits = model(ids, z=z).logits[:, -1]
        logits[:, NEVER] = -torch.inf
        token = logits.argmax(-1).masked_fill(done, PAD)
        ids, done = torch.cat([ids, token[:, None]], 1), done | (token == EOS)
    assert torch.equal(greedy(model, z), ids)
    assert len({tuple(row) for row in ids.tolist()}) > 1  # the latents do lead to different sentences


def test_without_a_cache_the_same(model, z):
    assert torch.equal(greedy(model, z, use_cache=False), greedy(model, z))


def test_a_latent_decodes_alike_alone_and_in_a_batch(model, z):
    together = greedy(model, z)
    for row, latent in zip(together, z, strict=True):
        alone = greedy(model, latent[None])[0]
        assert torch.equal(row[: len(alone)], alone)
        assert (row[len(alone) :] == PAD).all()


def test_continues_what_is_given(model, z):
    prefix = torch.tensor([[BOS, 9, 12]]).expand(B, -1)
    ids = greedy(model, z, input_ids=prefix)
    assert torch.equal(ids[:, :3], prefix)
    logits = model(ids[:, :3], z=z).logits[:, -1]
    logits[:, NEVER] = -torch.inf
    assert torch.equal(ids[:, 3], logits.argmax(-1))


def test_beams_are_at_least_as_likely_as_greedy(model, z):
    """At a fixed length, where the two search the same set."""
    options = {"min_new_tokens": 8, "max_new_tokens": 8, "length_penalty": 0.0}
    one, beams = greedy(model, z, **options), greedy(model, z, num_beams=6, **options)
    gain = log_likelihood(model, beams, z) - log_likelihood(model, one, z)
    assert gain.min() > -1e-4


@pytest.mark.parametrize("decoder", DECODERS)
def test_wide_beams_find_the_likeliest_sentence(make_model, decoder):
    """Four words and up to three tokens: as many beams as there are beginnings leave nothing unseen."""
    model = sharpened(make_model(decoder=decoder, latent_size=D, vocab_size=9), 3.0)
    latents = 1.5 * torch.randn(5, D, generator=torch.Generator().manual_seed(5))
    choices = [
        [BOS, *beginning, *([EOS] if len(beginning) < 3 else []), *([PAD] * (2 - len(beginning)))]
        for length in range(4)
        for beginning in itertools.product(range(5, 9), repeat=length)
    ]
    every = torch.tensor([row[:4] for row in choices])
    found = model.generate(
        z=latents, num_beams=64, do_sample=False, max_new_tokens=3, length_penalty=0.0, early_stopping="never"
    )
    for row, latent in zip(found, latents, strict=True):
        scores = log_likelihood(model, every, latent.expand(len(every), -1))
        assert words(row.tolist()) == words(every[scores.argmax()].tolist())


def test_sampling_repeats_with_a_seed(model, z):
    rows = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        rows.append(model.generate(z=z, do_sample=True, max_new_tokens=STEPS, top_k=0).tolist())
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


def test_samples_follow_the_distribution(model, z):
    """The first token of many samples of one latent, against the softmax without what is never generated."""
    torch.manual_seed(0)
    ids = model.generate(z=z[:1].expand(4000, -1), do_sample=True, max_new_tokens=1, top_k=0, top_p=1.0)
    logits = model(torch.tensor([[BOS]]), z=z[:1]).logits[0, 0]
    logits[NEVER] = -torch.inf
    expected = logits.softmax(0)
    share = torch.bincount(ids[:, 1], minlength=V) / 4000
    assert ((share - expected).abs() < 5 * (expected * (1 - expected) / 4000).sqrt() + 1e-6).all()


@pytest.mark.parametrize("beams", [1, 4])
def test_several_sequences_of_a_latent_stand_together(model, z, beams):
    """Each latent is repeated in place: the first of its sequences is the one that it gives alone."""
    options = {"do_sample": True, "top_k": 1} if beams == 1 else {"do_sample": False, "num_beams": beams}
    ids = model.generate(z=z, max_new_tokens=STEPS, num_return_sequences=3, **options)
    assert ids.shape[0] == 3 * B
    alone = greedy(model, z, num_beams=beams)
    for row, expected in zip(ids[::3].tolist(), alone.tolist(), strict=True):
        assert words(row) == words(expected)
    for start in range(0, 3 * B, 3):
        assert len({tuple(row) for row in ids[start : start + 3].tolist()}) == (1 if beams == 1 else 3)


def test_special_tokens_are_never_generated(model):
    """Even where the model finds them the likeliest; only what follows eos is padding."""
    with torch.no_grad():
        model.decoder.softmax_bias[NEVER] += 1000
    torch.manual_seed(0)
    ids = model.generate(z=model.sample_prior(100), do_sample=True, top_k=0, temperature=3.0, max_new_tokens=20)
    for row in ids.tolist():
        assert row[0] == BOS
        assert not set(words(row)) & set(NEVER)
        assert set(row[1 + len(words(row)) + 1 :]) <= {PAD}
    assert (ids == EOS).any()


def test_special_tokens_are_generated_when_asked_for(model, z):
    with torch.no_grad():
        model.decoder.softmax_bias[UNK] += 1000  # above any logit of sharpened weights
    assert (greedy(model, z, suppress_tokens=[PAD, BOS, MASK])[:, 1:] == UNK).all()


@pytest.mark.parametrize(
    "options",
    [{"top_k": 1}, {"top_p": 1e-6, "top_k": 0}, {"min_p": 1.0, "top_k": 0}, {"temperature": 1e-4, "top_k": 0}],
    ids=lambda options: next(iter(options)),
)
def test_sampling_narrowed_to_the_likeliest_token_is_greedy(model, z, options):
    assert torch.equal(model.generate(z=z, do_sample=True, max_new_tokens=STEPS, **options), greedy(model, z))


@pytest.mark.parametrize("options", [{"top_k": 3}, {"min_p": 0.3, "top_k": 0}, {"top_p": 0.5, "top_k": 0}])
def test_sampling_keeps_to_the_allowed_tokens(model, z, options):
    torch.manual_seed(0)
    ids = model.generate(z=z[:1].expand(500, -1), do_sample=True, max_new_tokens=1, **options)
    logits = model(torch.tensor([[BOS]]), z=z[:1]).logits[0, 0]
    logits[NEVER] = -torch.inf
    p, order = logits.softmax(0).sort(descending=True)
    keep = {
        "top_k": torch.arange(V) < 3,
        "min_p": p >= 0.3 * p[0],
        "top_p": p.cumsum(0) - p < 0.5,
    }[next(iter(options))]
    assert set(ids[:, 1].tolist()) <= set(order[keep].tolist())
    assert keep.sum() < V - len(NEVER)


def without_an_end(model):
    """The same model, with eos out of reach and all scores below zero, where a penalty makes them smaller."""
    with torch.no_grad():
        model.decoder.softmax_bias.sub_(500)
        model.decoder.softmax_bias[EOS] -= 500
    return model


def test_repetition_penalty(model, z):
    model = without_an_end(model)
    plain, penalised = (greedy(model, z, repetition_penalty=penalty).tolist() for penalty in (1.0, 10.0))
    assert max(max(Counter(words(row)).values()) for row in plain) > 1
    assert all(max(Counter(words(row)).values()) == 1 for row in penalised)


def test_the_first_token_is_not_repeated_by_the_end(model, z):
    """Some vocabularies have one token for both, and texts that may not repeat it would have no end."""
    with torch.no_grad():
        model.decoder.softmax_bias[EOS] += 1000
    ids = greedy(model, z, repetition_penalty=1e6, bos_token_id=EOS)
    assert (ids == EOS).all()
    assert ids.shape[1] == 2


def test_the_state_is_one_that_generate_knows(model):
    """On some devices it asks whether words can be taken back."""
    assert model.decoder.new_state().is_croppable in (True, False)


def test_no_repeat_ngram_size(model, z):
    model = without_an_end(model)

    def most(rows):
        return max(max(Counter(itertools.pairwise(row)).values()) for row in rows.tolist())

    assert most(greedy(model, z, max_new_tokens=30)) > 1
    assert most(greedy(model, z, max_new_tokens=30, no_repeat_ngram_size=2)) == 1


def test_lengths(model, z):
    assert greedy(without_an_end(model), z, max_new_tokens=5).shape == (B, 6)


def test_end_in_a_batch_is_padded(model, z):
    with torch.no_grad():
        model.decoder.softmax_bias[EOS] += 500
    assert greedy(model, z).tolist() == [[BOS, EOS]] * B


def test_streamer(model, z):
    class Collect(BaseStreamer):
        def __init__(self):
            self.tokens, self.ended = [], False

        def put(self, value):
            self.tokens += value.flatten().tolist()

        def end(self):
            self.ended = True

    streamer = Collect()
    ids = greedy(model, z[:1], streamer=streamer)
    assert streamer.tokens == ids[0].tolist()
    assert streamer.ended


def test_streamer_of_text(make_model, tokenizer):
    model = sharpened(make_model(vocab_size=len(tokenizer)))
    streamer = TextIteratorStreamer(tokenizer, skip_special_tokens=True)
    ids = greedy(model, torch.ones(1, D), streamer=streamer)
    text = tokenizer.decode(ids[0], skip_special_tokens=True)
    assert "".join(streamer) == text
    assert text


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("beams", [1, 3])
def test_plain_language_model_generates(make_model, decoder, beams):
    model = sharpened(make_model(decoder=decoder, latent_size=0))
    ids = greedy(model, model.sample_prior(3), num_beams=beams)
    assert ids.shape[0] == 3
    assert ids[0].tolist() == ids[1].tolist() == ids[2].tolist()
    logits = model(torch.tensor([[BOS]]), z=torch.zeros(1, 0)).logits[0, -1]
    logits[NEVER] = -torch.inf
    assert beams > 1 or ids[0, 1] == logits.argmax()
    torch.manual_seed(0)
    samples = model.generate(z=model.sample_prior(20), do_sample=True, max_new_tokens=STEPS)
    assert len({tuple(row) for row in samples.tolist()}) > 1


def test_z_is_required(model):
    with pytest.raises(ValueError, match=r"generate needs z \(B,D\)"):
        model.generate(torch.tensor([[BOS]]), max_new_tokens=3)


@needs_bfloat16
def test_under_autocast(model, z):
    """Mixed precision decodes too, with states that keep one dtype from step to step."""
    with torch.autocast("cpu", torch.bfloat16):
        ids = greedy(model, z)
    assert ids.shape[0] == B
    assert (ids[:, 0] == BOS).all()
    assert (ids[:, 1] == greedy(model, z)[:, 1]).float().mean() > 0.6
