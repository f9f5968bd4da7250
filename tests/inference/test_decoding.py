"""The decoding loop against transformers' own, the nucleus filter against its full sort, the draw against its law."""

import itertools

import pytest
import torch
from transformers import LogitsProcessorList, MinPLogitsWarper, TopPLogitsWarper

from tests.conftest import DECODERS
from tests.test_generation import PAD, D, V, log_likelihood, sharpened
from textvae.inference import decoding
from textvae.inference.decoding import NucleusFilter, decode_rows, draw

# Added to the bias of eos, so that texts of different lengths come out.
ENDING = {"gru": 4.0, "lstm2-all": 4.0, "gru-untied-output": 10.0, "transformer-cross-learned": 2.0}
GREEDY_OPTIONS = {
    "plain": {},
    "repetition": {"repetition_penalty": 1.7},
    "ngrams": {"no_repeat_ngram_size": 1},
    "minimum": {"min_new_tokens": 6},
    "sequences": {"bad_words_ids": [[9], [12]]},
}


def ending(model, name):
    """A sharpened model whose texts end at different lengths."""
    sharpened(model)
    with torch.no_grad():
        model.decoder.softmax_bias[model.config.eos_token_id] += ENDING.get(name, 0.0)
    return model


@pytest.fixture(params=DECODERS)
def model(request, make_model):
    return ending(make_model(decoder=request.param, latent_size=D, vocab_size=V), request.param)


@pytest.fixture
def z():
    return 1.5 * torch.randn(24, D, generator=torch.Generator().manual_seed(3))


def generate(model, z, loop, **options):
    return model.generate(z=z, custom_generate=loop, **{"do_sample": False, "max_new_tokens": 14} | options)


def same(a, b):
    """Whether two results differ in nothing but padding at the end."""
    width = max(a.shape[1], b.shape[1])
    a, b = (torch.nn.functional.pad(ids, (0, width - ids.shape[1]), value=PAD) for ids in (a, b))
    return torch.equal(a, b)


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("name", GREEDY_OPTIONS)
def test_greedy_equals_the_loop_of_transformers(model, z, name, every, monkeypatch):
    monkeypatch.setitem(decoding.CHECK_EVERY, "cpu", every)
    options = GREEDY_OPTIONS[name]
    expected = generate(model, z, None, **options)
    assert same(generate(model, z, decode_rows, **options), expected)
    lengths = (expected != PAD).sum(1)
    assert name != "plain" or lengths.min() < lengths.max()  # rows did end at different times


def test_rows_that_ended_leave_the_batch(make_model, z, monkeypatch):
    model = ending(make_model(latent_size=D, vocab_size=V), "gru")
    sizes, forward = [], model.forward
    monkeypatch.setattr(model, "forward", lambda *a, **k: sizes.append(len(k["z"])) or forward(*a, **k))
    ids = generate(model, z, decode_rows)
    running = [int((ids[:, 1 + step] != PAD).sum()) for step in range(ids.shape[1] - 1)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 2
    # A step computes no more rows than are still running, but for the share that is waited for.
    assert all(size * (1 - decoding.ENDED_SHARE) <= alive <= size for size, alive in zip(sizes, running, strict=True))


def test_continues_what_is_given(model, z):
    prefix = torch.tensor([[1, 9, 12]]).expand(len(z), -1)
    expected = model.generate(prefix, z=z, do_sample=False, max_new_tokens=9)
    assert same(model.generate(prefix, z=z, do_sample=False, max_new_tokens=9, custom_generate=decode_rows), expected)


def test_longest_text_is_kept_to(model, z):
    ids = generate(model, z, decode_rows, max_new_tokens=5, min_new_tokens=5)
    assert ids.shape == (24, 6)
    assert (ids != PAD).all()


@torch.no_grad()
def test_sampling_follows_the_model(make_model):
    """Two-token texts of one z, against their exact probabilities."""
    model = make_model(latent_size=D, vocab_size=8)
    z = torch.ones(4000, D)
    torch.manual_seed(0)
    ids = generate(model, z, decode_rows, do_sample=True, top_k=0, max_new_tokens=2)
    allowed = [i for i in range(8) if i not in model.generation_config.suppress_tokens]
    counts = {}
    for pair in map(tuple, ids[:, 1:].tolist()):
        counts[pair] = counts.get(pair, 0) + 1
    first = model(torch.tensor([[1]]), z=z[:1]).logits[0, -1][allowed].softmax(-1)
    chi_square = 0.0
    for i, j in itertools.product(range(len(allowed)), repeat=2):
        token = allowed[i]
        if token == model.config.eos_token_id:
            continue
        second = model(torch.tensor([[1, token]]), z=z[:1]).logits[0, -1][allowed].softmax(-1)
        expected = 4000 * float(first[i] * second[j])
        chi_square += (counts.get((token, allowed[j]), 0) - expected) ** 2 / expected
    assert chi_square < 40  # 12 cells; the 0.9999 quantile of chi-square with 12 degrees of freedom is 39.1


def test_nucleus_holds_in_sampling(make_model, z):
    """No token outside of transformers' nucleus is ever drawn."""
    model = sharpened(make_model(latent_size=D, vocab_size=V))
    torch.manual_seed(0)
    ids = generate(model, z.repeat(20, 1), decode_rows, do_sample=True, top_k=0, top_p=0.6, max_new_tokens=4)
    every = z.repeat(20, 1)
    for length in range(1, ids.shape[1]):
        alive = ids[:, length] != PAD
        logits = model(ids[:, :length], z=every).logits[:, -1]
        logits[:, model.generation_config.suppress_tokens] = -torch.inf
        kept = TopPLogitsWarper(0.6)(None, logits)[alive].gather(1, ids[alive, length, None])
        assert kept.isfinite().all()
    assert (log_likelihood(model, ids, every) < 0).all()


@pytest.mark.parametrize("minimum", [1, 5])
@pytest.mark.parametrize("prefilter", [1, 8, 64, 300])
@pytest.mark.parametrize("top_p", [0.01, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_nucleus_equals_the_full_sort(top_p, prefilter, minimum, scale):
    scores = scale * torch.randn(40, 200, generator=torch.Generator().manual_seed(5))
    scores[:, 17] = -torch.inf
    expected = TopPLogitsWarper(top_p, min_tokens_to_keep=minimum)(None, scores.clone())
    assert torch.equal(NucleusFilter(top_p, minimum, prefilter)(None, scores), expected)


def test_the_loop_takes_the_faster_filter():
    """A nucleus at the end is left to the draw; a small one, one that has to keep some tokens, one that is followed by
    something, and one on an accelerator is a filter."""
    nucleus, minimum = TopPLogitsWarper(0.9), TopPLogitsWarper(0.8, min_tokens_to_keep=2)
    after, small = MinPLogitsWarper(0.1), TopPLogitsWarper(0.4)
    processors, top_p = decoding._faster(LogitsProcessorList([after, nucleus]), True)
    assert (list(processors), top_p) == ([after], 0.9)
    for given, redraw in (([minimum], True), ([nucleus, after], True), ([small], True), ([nucleus], False)):
        processors, top_p = decoding._faster(LogitsProcessorList(given), redraw)
        assert (len(processors), top_p) == (len(given), 1.0)
        assert isinstance(processors[0], NucleusFilter)
        assert (processors[0].top_p, processors[0].min_tokens_to_keep) == (given[0].top_p, given[0].min_tokens_to_keep)


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.8, 0.95])
def test_draw_from_a_nucleus_follows_the_filtered_scores(top_p):
    scores = torch.tensor([-1.0, 0.3, -torch.inf, 1.2, -2.0, 0.8, 0.31, -0.4])
    torch.manual_seed(0)
    share = draw(scores.expand(60_000, -1), top_p).bincount(minlength=8) / 60_000
    expected = NucleusFilter(top_p)(None, scores[None])[0].softmax(-1)
    assert share[expected == 0].eq(0).all()
    torch.testing.assert_close(share, expected, atol=0.01, rtol=0)


def test_draw_from_the_nuclei_of_many_rows():
    """Each row keeps to its own nucleus, however often other rows have to be drawn again."""
    scores = 3 * torch.randn(500, 200, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    kept = NucleusFilter(0.6)(None, scores)
    for _ in range(20):
        assert kept.gather(1, draw(scores, 0.6)[:, None]).isfinite().all()


def test_draw_follows_the_scores_and_never_takes_what_is_ruled_out():
    scores = torch.tensor([-torch.inf, 0.3, -1.0, -torch.inf, 1.2, -torch.inf])
    torch.manual_seed(0)
    tokens = draw(scores.expand(40_000, -1))
    share = tokens.bincount(minlength=6) / 40_000
    assert share[[0, 3, 5]].eq(0).all()
    torch.testing.assert_close(share, scores.softmax(-1), atol=0.012, rtol=0)


def test_draw_at_the_edges(monkeypatch):
    """The smallest and the largest random number still find a token that may be taken."""
    scores = torch.tensor([[-torch.inf, 2.0, 1.0, -torch.inf]])
    for number, token in ((0.0, 2), (1 - 2**-24, 1)):
        monkeypatch.setattr(torch, "rand", lambda *shape, number=number, **options: torch.full(shape, number))
        assert draw(scores).tolist() == [token]
