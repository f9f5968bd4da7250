"""Latent vectors after gradient steps for each text."""

import pytest
import torch

from tests.evaluation.test_likelihood import tiny
from textvae import TextVAE
from textvae.inference.refine import refined_vectors

ROW = torch.tensor([[1, 7, 9, 5, 11, 2]])
LONGER = torch.tensor([[1, 7, 9, 10, 6, 9, 2]])


def as_batch(*rows):
    length = max(row.shape[1] for row in rows)
    ids = torch.cat([torch.nn.functional.pad(row, (0, length - row.shape[1])) for row in rows])
    mask = (torch.arange(length) < torch.tensor([[row.shape[1]] for row in rows])).long()
    return {"input_ids": ids, "attention_mask": mask, "encoder_input_ids": ids, "encoder_attention_mask": mask}


def distortion(model, batch, z):
    with torch.no_grad():
        return model.distortion(batch["input_ids"], batch["attention_mask"], z[None])[0]


def test_reaches_the_least_distortion(make_model):
    """Of all z on a grid, in one dimension, from both sides."""
    model, batch = tiny(make_model, injection=6.0).eval(), as_batch(LONGER)
    grid = torch.linspace(-6, 6, 1201)[:, None]
    many = {name: value.expand(len(grid), -1) for name, value in batch.items()}
    nll = distortion(model, many, grid)
    lowest = nll.argmin()
    assert 0 < lowest < len(grid) - 1
    for start in (-1.5, 0.4):
        z = refined_vectors(model, batch, grid[lowest][None] + start, 200)
        assert distortion(model, batch, z).item() == pytest.approx(nll[lowest].item(), abs=0.01)


def test_each_step_is_the_gradient_s(make_model):
    """Adam's first step goes against the sign of each number's gradient, and by the same width."""
    model, batch = tiny(make_model, latent_size=3, injection=6.0).eval(), as_batch(ROW)
    z = torch.tensor([[0.3, -0.5, 0.1]])
    leaf = z.clone().requires_grad_()
    model.distortion(batch["input_ids"], batch["attention_mask"], leaf[None]).sum().backward()
    moved = refined_vectors(model, batch, z, 1)
    torch.testing.assert_close(moved, z - 0.1 * leaf.grad / (leaf.grad.abs() + 1e-3), atol=1e-5, rtol=1e-4)


def test_texts_of_a_batch_have_nothing_to_do_with_each_other(make_model, monkeypatch):
    model = tiny(make_model, latent_size=3, injection=3.0).eval()
    z = torch.tensor([[0.3, -0.5, 0.1], [1.0, 0.0, -1.0]])
    together = refined_vectors(model, as_batch(ROW, LONGER), z, 8)
    alone = [refined_vectors(model, as_batch(row), start[None], 8) for row, start in zip((ROW, LONGER), z, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=1e-4)
    monkeypatch.setattr("textvae.inference.refine.TOKENS_AT_ONCE", 1)  # a text at a time
    torch.testing.assert_close(refined_vectors(model, as_batch(ROW, LONGER), z, 8), together, atol=1e-4, rtol=1e-4)


def test_on_the_sphere_they_stay_there(make_model):
    model = tiny(make_model, latent_size=3, injection=3.0).eval()
    model.posterior.support = "sphere"
    z, batch = torch.nn.functional.normalize(torch.tensor([[0.3, -0.5, 0.1]])), as_batch(ROW)
    refined = refined_vectors(model, batch, z, 30)
    assert refined.norm(dim=-1).item() == pytest.approx(1, abs=1e-5)
    assert distortion(model, batch, refined) < distortion(model, batch, z)


def test_the_model_stays_as_it_is(make_model):
    """Its weights, what is trained of them, and that nothing is left behind; also where a step fails."""
    model = tiny(make_model, latent_size=3).eval()
    model.decoder.softmax_bias.requires_grad_(False)
    before = {name: (w.clone(), w.requires_grad) for name, w in model.named_parameters()}
    refined_vectors(model, as_batch(ROW), torch.zeros(1, 3), 2)
    with pytest.raises(RuntimeError):
        refined_vectors(model, as_batch(ROW), torch.zeros(1, 4), 2)
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name][0])
        assert weight.requires_grad == before[name][1]
        assert weight.grad is None


# ---- What users call ----


@pytest.fixture(scope="module")
def vae(trained):
    return TextVAE.from_pretrained(trained.folder)


def nll_of(vae, texts, z):
    rows = [torch.tensor([vae.tokenizer(text)["input_ids"]]) for text in texts]
    return torch.cat([distortion(vae.model, as_batch(row), one[None]) for row, one in zip(rows, z, strict=True)])


def test_refined_vectors_tell_their_texts_better(vae, texts):
    some = texts[:9]
    z, refined = vae.encode(some), vae.encode(some, refine=5)
    assert (refined.dtype, refined.requires_grad) == (torch.float32, False)
    assert (nll_of(vae, some, refined) < nll_of(vae, some, z)).all()
    assert torch.equal(vae.encode(some, refine=0), z)
    torch.testing.assert_close(vae.encode(some[3], refine=5), refined[3], atol=1e-3, rtol=1e-3)


def test_a_sample_is_where_the_steps_begin(vae, texts):
    first = vae.encode(texts[:3], sample=True, seed=1)
    refined = vae.encode(texts[:3], sample=True, seed=1, refine=1)
    assert 0 < (refined - first).abs().max() <= 0.1 + 1e-5


def test_copies_and_ends_of_paths_are_those_of_refined_vectors(vae, texts):
    z = vae.encode(texts[:2], refine=5)
    assert vae.reconstruct(texts[:2], refine=5) == vae.decode(z, do_sample=False)
    path = vae.interpolate(*texts[:2], 3, refine=5)
    torch.testing.assert_close(vae.encode(texts[1], refine=5), z[1], atol=1e-3, rtol=1e-3)
    assert path == vae.interpolate(vae.encode(texts[0], refine=5), vae.encode(texts[1], refine=5), 3)
    assert vae.interpolate(z[0], z[1], 3, refine=5) == vae.interpolate(z[0], z[1], 3)  # vectors are what they are


def test_too_few_steps_are_refused(vae, texts):
    with pytest.raises(ValueError, match="refine: -1 is no number of steps"):
        vae.encode(texts[:1], refine=-1)
