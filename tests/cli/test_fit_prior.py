"""`textvae fit-prior`, and sampling from what it leaves."""

import shutil

import pytest

from textvae import TextVAE
from textvae.latent.fitted import FITTED


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
