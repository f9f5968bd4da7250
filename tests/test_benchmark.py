"""The benchmark's reference: same loss, same course of training; its text and its counts."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.contract import needs_bfloat16
from textvae import TextVAEConfig, TextVAEModel, registry
from textvae.latent import kl

SCRIPTS = Path(__file__).parents[1] / "scripts"


sys.path.append(str(SCRIPTS))
parent, benchmark = importlib.import_module("benchmark"), importlib.import_module("benchmark_work")
PlainVAE = importlib.import_module("reference_step").PlainVAE


@pytest.fixture(params=["ptb-lstm-256", "ptb-gru-256", "ptb-transformer-256"])
def pair(request):
    """A small model of a preset's shape, and the plain one with the same weights."""
    sizes = {"hidden_size": 16, "embedding_size": 16, "num_heads": 2, "max_positions": 90}
    parts = benchmark.PRESETS[request.param]["model"]
    small = {side: part | {k: v for k, v in sizes.items() if k in part} for side, part in parts.items()}
    torch.manual_seed(0)
    model = TextVAEModel(TextVAEConfig(vocab_size=60, latent={"size": 4}, **small))
    plain = PlainVAE(model.config)
    plain.take_weights(model)
    return model, plain


@pytest.fixture
def batches():
    random = np.random.default_rng(1)
    lengths = random.integers(1, 12, 40)
    rows = [{"ids": [1, *random.integers(5, 60, length).tolist(), 2]} for length in lengths]
    benchmark_batch, benchmark.BATCH = benchmark.BATCH, 8
    yield benchmark.batches(rows, "cpu")
    benchmark.BATCH = benchmark_batch


def ours(model, objective, batch, noise, progress, bf16=False):
    """The loss of textvae's own path, with given noise in place of its own."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        q = model.encode(batch["encoder_input_ids"], batch["encoder_attention_mask"])
        z = (q.mu + (0.5 * q.logvar).exp() * noise)[None]
        distortion = model.distortion(batch["input_ids"], batch["attention_mask"], z)
    rate, per_dimension = kl(q, model.prior, q.log_prob(z), model.prior.log_prob(z))
    from textvae.outputs import TextVAEOutput

    output = TextVAEOutput(q=q, z=z, distortion=distortion, rate=rate, rate_per_dimension=per_dimension)
    return objective(output, progress).loss


@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 2e-4), pytest.param(True, 2e-2, marks=needs_bfloat16)])
def test_the_course_of_training_is_that_of_the_plain_step(pair, batches, bf16, tolerance):
    """40 updates with annealed beta: every loss is the plain one, in bfloat16 within two percent."""
    model, plain = pair
    schedule = {"kind": "elbo", "beta": {"schedule": "linear", "warmup": 0.5}}
    objective = registry.build("objective", registry.resolve("objective", schedule, "objective"))
    fast = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0, fused=True)
    slow = torch.optim.Adam(plain.parameters(), lr=3e-3)
    losses = []
    for update in range(40):
        batch, progress = batches[update % len(batches)], update / 40
        noise = torch.randn(len(batch["input_ids"]), 4)
        a = ours(model, objective, batch, noise, progress, bf16)
        b = plain.loss(batch["input_ids"], batch["attention_mask"], noise, min(1.0, progress / 0.5))
        for loss, optimizer in ((a, fast), (b, slow)):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append((a.item(), b.item()))
    mine, theirs = np.array(losses).T
    np.testing.assert_allclose(mine, theirs, rtol=tolerance)
    assert theirs[-5:].mean() < 0.97 * theirs[:5].mean()  # both have learnt something


@pytest.mark.parametrize("preset", benchmark.PRESETS)
def test_generated_sentences_have_the_lengths_asked_for(preset):
    mean, deviation = benchmark.PRESETS[preset]["words"]
    lengths = [len(words) for words in benchmark.sentences(preset, 20_000)]
    assert np.mean(lengths) == pytest.approx(mean, rel=0.02)
    assert np.std(lengths) == pytest.approx(deviation, rel=0.05)
    assert min(lengths) >= 1


def test_tokens_and_useful_work_leave_padding_out(pair, batches):
    model, _ = pair
    batch = batches[0]
    wide = {name: torch.nn.functional.pad(tensor, (0, 9)) for name, tensor in batch.items()}
    assert benchmark.tokens([wide]) == benchmark.tokens([batch]) == int(batch["attention_mask"].sum()) - 8
    assert benchmark.useful_flops(model, [wide]) == benchmark.useful_flops(model, [batch]) > 0


def test_useful_work_of_a_recurrent_model_by_hand(batches):
    parts = benchmark.PRESETS["ptb-gru-256"]["model"]
    model = TextVAEModel(TextVAEConfig(vocab_size=60, latent={"size": 4}, **parts))
    read = sum(int(batch["attention_mask"].sum()) for batch in batches)
    written = benchmark.tokens(batches)
    encoder, decoder = 3 * 256 * (256 + 256), 3 * 256 * (260 + 256) + 256 * 60
    assert benchmark.useful_flops(model, batches) == 6 * (encoder * read + decoder * written)


def test_law_of_perplexity():
    law = benchmark._law_of_perplexity(90.0)
    assert law.sum() == pytest.approx(1)
    assert np.exp(-(law * np.log(law)).sum()) == pytest.approx(90, rel=1e-6)


def test_the_guard_compares_ratios_and_never_times():
    figures = {"ratio": 3.0, "tokens_per_second": 9000.0, "roofline_share": 0.4}
    before = {"train": {"ptb-lstm-256": {"ratio": 4.0, "tokens_per_second": 90_000.0, "roofline_share": 0.45}}}
    fallen = parent.worse({"train": {"ptb-lstm-256": figures}, "iw": {}}, before)
    assert fallen == ["train ptb-lstm-256: ratio is 3 and was 4"]
    assert not parent.worse(before, before)
