"""A model of every pair of posterior and prior, from recipe to samples, through the public names."""

import json

import pytest
import torch

from tests.tiny import tiny_recipe
from textvae import TextVAE, registry, train
from textvae.configuration import refusal
from textvae.evaluation import report
from textvae.evaluation.likelihood import evaluate_bound, importance_weighted_nll

PAIRS = [(q, p) for q in registry.kinds("posterior") for p in registry.kinds("prior") if not refusal(q, p)]
SMALL = ["training.max_steps=4", "objective.free_bits=0", "generation.max_new_tokens=6", "training.ema_decay=0"]


@pytest.fixture(scope="module")
def small_corpus(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("corpus") / "small.txt"
    path.write_text("".join(text + "\n" for text in texts[:120]), encoding="utf-8")
    return path


@pytest.mark.parametrize(("posterior", "prior"), PAIRS)
def test_train_save_load_sample(posterior, prior, small_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(report.evaluate_split, "__defaults__", (500, 10, *report.evaluate_split.__defaults__[2:]))
    latent = [f"model.latent.posterior={posterior}", f"model.latent.prior={prior}", "model.latent.size=3"]
    run = train(tiny_recipe(small_corpus, tmp_path / "run", *latent, *SMALL))
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    rated = ["nll", "rate", "iw_nll", "ppl", "mutual_information", "marginal_kl"]
    if posterior == "deterministic":
        assert [metrics[key] for key in rated] == [None] * 6
        assert metrics["distortion"] > 0
        doctor = json.loads((tmp_path / "run" / "doctor.json").read_text())
        assert doctor["verdict"] in ("healthy", "partial", "collapsed")
        assert [doctor[key] for key in ("nll", "rate", "mutual_information", "rate_per_dimension")] == [None] * 4
        with pytest.raises(ValueError, match="a deterministic posterior has no density"):
            importance_weighted_nll(run.vae.model, run.splits["validation"], 2)
    else:
        assert all(isinstance(metrics[key], float) for key in rated)
        assert metrics["nll"] == pytest.approx(metrics["distortion"] + metrics["rate"])
        assert metrics["marginal_kl"] == pytest.approx(metrics["rate"] - metrics["mutual_information"])
    vae = TextVAE.from_pretrained(tmp_path / "run")
    assert vae.sample(4, seed=1) == run.vae.sample(4, seed=1)
    a, b = "the cat sees something at dawn", "the dog finds something at dawn"
    torch.testing.assert_close(vae.encode([a, b]), run.vae.encode([a, b]))
    for method in ("slerp", "lerp"):
        assert len(vae.interpolate(a, b, steps=4, method=method)) == 4
    if vae.on_sphere:
        torch.testing.assert_close(vae.sample(4, seed=1, return_z=True)[1].norm(dim=1), torch.ones(4))
        with pytest.raises(ValueError, match=r"z_scale: 0\.5 is not allowed"):
            vae.sample(2, z_scale=0.5)


@pytest.mark.parametrize(("posterior", "prior"), [("vmf", "uniform"), ("gaussian", "mixture"), ("flow", "standard")])
def test_free_bits_per_dimension_need_a_rate_that_factorises(posterior, prior, small_corpus, tmp_path):
    latent = [f"model.latent.posterior={posterior}", f"model.latent.prior={prior}"]
    with pytest.raises(ValueError, match=r"objective: elbo does not go with .* a rate that is a sum over dimensions"):
        tiny_recipe(small_corpus, tmp_path / "run", *latent)


@pytest.mark.parametrize(
    ("posterior", "prior"),
    [(q, p) for q, p in PAIRS if q != "deterministic" and (q, p) != ("gaussian", "standard")]
    + [("spline", p) for q, p in PAIRS if q == "flow"],
)
def test_importance_weighted_nll_by_integration(posterior, prior, batch, space_of):
    """One latent dimension, or the circle: the bound with many samples is -log of the integral over z.

    Posteriors are wide, since no number of samples finds what a narrow proposal leaves out. Flows bend: a new one is
    the identity, whose density is that of the Gaussian under it.
    """
    from datasets import Dataset

    from textvae import TextVAEConfig, TextVAEModel

    flow = {"kind": "flow", "transform": "spline" if posterior == "spline" else "affine"}
    posterior = "flow" if posterior == "spline" else posterior
    size, grid, log_width = space_of(registry.part("posterior", posterior).support)
    small = {"kind": "recurrent", "embedding_size": 12, "hidden_size": 10}
    latent = {"size": size, "posterior": flow if posterior == "flow" else posterior, "prior": prior}
    if posterior in ("vmf", "power_spherical"):
        latent["posterior"] = {"kind": posterior, "concentration": 0.5}
    torch.manual_seed(3)
    model = TextVAEModel(TextVAEConfig(vocab_size=30, encoder=small, decoder=small, latent=latent)).eval()
    if posterior in ("gaussian", "flow"):
        torch.nn.init.constant_(model.posterior.logvar.bias, 2.0)
    for part in (model.posterior, model.prior):
        for name, weight in part.named_parameters():
            if name.startswith("flow."):
                weight.data += 0.1 * torch.randn(weight.shape)
    if prior == "vamp":
        torch.nn.init.normal_(model.prior.pseudo_inputs, std=0.3)  # as far apart as summaries are
    rows = [[i for i in row if i] for row in batch[0].tolist()][:3]
    dataset = Dataset.from_dict({"ids": rows, "length": [len(row) - 1 for row in rows]})
    with torch.no_grad():
        exact = []
        for row in rows:
            ids = torch.tensor([row])
            nll = model.distortion(ids, torch.ones_like(ids), grid[:, None])[:, 0]
            exact.append(-float((model.prior.log_prob(grid) - nll).double().logsumexp(0) + log_width))
    iw = importance_weighted_nll(model, dataset, 3000 if prior == "vamp" else 20_000, bf16=False)
    bound = evaluate_bound(model, dataset, 400, bf16=False)
    torch.testing.assert_close(iw, torch.tensor(exact), rtol=0, atol=0.05)
    assert (bound.nll > iw - 0.05).all()


@pytest.fixture
def space_of():
    def space(support):
        if support == "sphere":
            angle = torch.arange(400) * (2 * torch.pi / 400)
            return 2, torch.stack([angle.cos(), angle.sin()], 1), float(torch.tensor(2 * torch.pi / 400).log())
        return 1, torch.linspace(-60, 60, 2401)[:, None], float(torch.tensor(0.05).log())

    return space
