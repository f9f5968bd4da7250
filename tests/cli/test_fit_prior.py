"""`textvae fit-prior`, and sampling from what it leaves."""

import shutil
import sys

import pytest

from textvae import TextVAE, registry
from textvae.latent.fitted import FITTED, FittedPrior


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained.folder, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "logs"))
    return tmp_path / "run"


def test_fit_and_sample(textvae, run, trained, tmp_path):
    report = textvae("fit-prior", run, "--components", 5, "--json").json
    assert report["kind"] == "mixture"
    assert report["sentences"] == len(trained.splits["train"])
    vae = TextVAE.from_pretrained(run)
    samples = vae.sample(5, seed=3, prior="fitted")
    assert samples != vae.sample(5, seed=3)
    assert textvae("sample", run, "-n", 5, "--seed", 3, "--prior", "fitted").out.splitlines() == samples
    vae.save_pretrained(tmp_path / "copy")
    assert TextVAE.from_pretrained(tmp_path / "copy").sample(5, seed=3, prior="fitted") == samples


def test_a_run_does_without_a_fitted_prior_that_cannot_be_read(textvae, run, monkeypatch, tmp_path):
    """It is asked for in sampling alone: a flow may lack its package, a file may be broken."""
    flow = FittedPrior(registry.resolve("prior", "flow", "prior"), 8)
    flow.save(run)
    texts = TextVAE.from_pretrained(run).sample(3, seed=1, prior="fitted")
    monkeypatch.setitem(sys.modules, "zuko.flows.coupling", None)
    vae = TextVAE.from_pretrained(run)
    vae.sample(1, seed=1)
    result = textvae("sample", run, "--prior", "fitted")
    assert (result.code, result.err.startswith("error: flow needs the package zuko")) == (2, True)
    vae.save_pretrained(run)
    vae.save_pretrained(tmp_path / "copy")
    monkeypatch.undo()
    for folder in (run, tmp_path / "copy"):
        assert TextVAE.from_pretrained(folder).sample(3, seed=1, prior="fitted") == texts
    (run / FITTED).write_bytes(b"nothing")
    result = textvae("sample", run, "--prior", "fitted")
    assert result.code == 2
    assert result.err.startswith(f"error: cannot load {run / FITTED}: ")
    assert textvae("sample", run).code == 0


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["sample", "RUN", "--prior", "fitted"], "prior: this model has no fitted prior; run `textvae fit-prior RUN`"),
        (["sample", "RUN", "--prior", "fited"], "prior: 'fited' is not known; known: fitted, model"),
        (["fit-prior", "RUN", "--kind", "gmm"], "kind: 'gmm' is not known; known: flow, mixture"),
        (["fit-prior", "RUN", "--components", "9999"], "components: 9999 is not allowed with"),
    ],
    ids=str,
)
def test_mistakes(textvae, run, command, message):
    result = textvae(*[run if word == "RUN" else word for word in command])
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {message}")
    assert not (run / FITTED).exists()
