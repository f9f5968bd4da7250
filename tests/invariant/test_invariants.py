"""What must hold for every encoder with every decoder: a sentence's numbers depend on the sentence alone."""

import pytest
import torch

from tests.conftest import DECODERS, ENCODERS
from tests.contract import disturbed, variants
from textvae.data.collator import Collator, pad

D = 4
ROWS = [
    [1, 9, 5, 17, 2],
    [1, 28, 6, 6, 21, 12, 7, 2],
    [1, 2],
    [1, 14, 25, 8, 29, 2],
    [1, 23, 2],
    [1, 6, 28, 6, 21, 12, 7, 2],
]
PAIRS = [
    pytest.param(encoder, decoder, id=f"{encoder_name}-{decoder_name}")
    for encoder_name, encoder in variants("encoder", ENCODERS).items()
    for decoder_name, decoder in variants("decoder", DECODERS).items()
]


@pytest.fixture
def model(request, make_model):
    encoder, decoder = request.param
    return disturbed(make_model(encoder, decoder, latent_size=D))


every_pair = pytest.mark.parametrize("model", [(p.values) for p in PAIRS], ids=[p.id for p in PAIRS], indirect=True)


@torch.no_grad()
def numbers(model, ids, mask):
    """Rate (B,), distortion (2,B) at the mean and at another latent that goes with it, and the mean (B,D)."""
    q = model.encode(ids, mask)
    output = model(ids, mask)
    z = torch.stack([q.mean, q.mean.flip(1) + 1])
    return {"rate": output.rate, "distortion": model.distortion(ids, mask, z).T, "mu": q.mean}


def assert_same(ours, expected):
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=2e-5)


@every_pair
@pytest.mark.parametrize("extra", [1, 7])
def test_padding(model, extra):
    """More of it changes nothing, nor does what stands in it."""
    ids, mask = pad(ROWS, 0)
    expected = numbers(model, ids, mask)
    wide = torch.cat([ids, ids.new_zeros(len(ids), extra)], 1)
    wide_mask = torch.cat([mask, mask.new_zeros(len(ids), extra)], 1)
    assert_same(numbers(model, wide, wide_mask), expected)
    noise = torch.randint(0, 30, wide.shape, generator=torch.Generator().manual_seed(0))
    assert_same(numbers(model, torch.where(wide_mask.bool(), wide, noise), wide_mask), expected)


@every_pair
def test_order_of_the_batch(model):
    ids, mask = pad(ROWS, 0)
    order = torch.tensor([4, 2, 5, 0, 1, 3])
    expected = {name: value[order] for name, value in numbers(model, ids, mask).items()}
    assert_same(numbers(model, ids[order], mask[order]), expected)


@every_pair
@pytest.mark.parametrize("size", [1, 2, 5])
def test_size_of_the_batch(model, size):
    expected = numbers(model, *pad(ROWS, 0))
    parts = [numbers(model, *pad(ROWS[start : start + size], 0)) for start in range(0, len(ROWS), size)]
    assert_same({name: torch.cat([part[name] for part in parts]) for name in expected}, expected)


@every_pair
def test_number_of_samples(model):
    """Each sample of z is scored as if it were the only one."""
    ids, mask = pad(ROWS, 0)
    z = torch.randn(3, len(ROWS), D, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = model.distortion(ids, mask, z)
        apart = torch.cat([model.distortion(ids, mask, z[s : s + 1]) for s in range(3)])
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=2e-5)
    assert (together[0] - together[1]).abs().min() > 1e-4


@every_pair
def test_gradients_of_parts_add_up(model):
    """The gradient of the mean over a batch is the mean of the sentences' own gradients: accumulation is exact."""

    def gradients(rows):
        batch = Collator(0)([{"ids": row} for row in rows])
        q = model.encode(batch["encoder_input_ids"], batch["encoder_attention_mask"])
        loss = model.distortion(batch["input_ids"], batch["attention_mask"], q.mean[None]).sum()
        loss = loss + 0.5 * (q.mu**2 + q.logvar.exp() - 1 - q.logvar).sum()
        return torch.autograd.grad(loss, list(model.parameters()))

    whole, parts = gradients(ROWS), [gradients(ROWS[i : i + 2]) for i in (0, 2, 4)]
    for expected, *pieces in zip(whole, *parts, strict=True):
        torch.testing.assert_close(sum(pieces), expected, rtol=1e-4, atol=1e-4)


@every_pair
def test_training_mode_without_dropout_changes_nothing(model):
    ids, mask = pad(ROWS, 0)
    expected = numbers(model, ids, mask)
    assert_same(numbers(model.train(), ids, mask), expected)
