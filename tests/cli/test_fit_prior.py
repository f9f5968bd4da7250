"""`textvae fit-prior`, and sampling from what it leaves."""

import json
import shutil
import sys

import pytest
import torch
import yaml
from safetensors import SafetensorError

from tests.tiny import tiny_recipe, train_tiny
from textvae import TextVAE, evaluate_run, registry
from textvae.evaluation.fitting import NOISE
from textvae.evaluation.run import Extras
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
    z = {
        name: vae.encode(trained.splits[name]["text"][:], sample=True, seed=0 ^ NOISE[name])
        for name in ("train", "validation")
    }
    fitted = FittedPrior.load(run / FITTED)
    torch.testing.assert_close(fitted.std.cpu(), z["train"].std(0), rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        numbers = [float(prior.log_prob(z["validation"]).mean()) for prior in (fitted, vae.model.prior)]
    assert [report["fitted_log_prob"], report["prior_log_prob"]] == pytest.approx(numbers, rel=1e-4)
    samples = vae.sample(5, seed=3, prior="fitted")
    assert samples != vae.sample(5, seed=3)
    assert textvae("sample", run, "-n", 5, "--seed", 3, "--prior", "fitted").out.splitlines() == samples
    vae.save_pretrained(tmp_path / "copy")
    assert TextVAE.from_pretrained(tmp_path / "copy").sample(5, seed=3, prior="fitted") == samples


def test_evaluation_under_it(textvae, run):
    """In a file of its own. What is fitted to the training texts makes them likelier."""
    own = textvae("evaluate", run, "--split", "train", "--samples", 9, "--json").json
    textvae("fit-prior", run, "--components", 5)
    fitted = textvae("evaluate", run, "--split", "train", "--samples", 9, "--prior", "fitted", "--json").json
    assert (own["prior"], fitted["prior"]) == ("standard", "fitted mixture of 5")
    assert fitted["distortion"] == pytest.approx(own["distortion"], rel=1e-3)
    assert fitted["rate"] < own["rate"] - 0.1
    assert fitted["iw_nll"] < own["iw_nll"] - 0.1
    assert fitted["rate_per_dimension"] is None
    for name, numbers in (("metrics-train", own), ("metrics-train-fitted-prior", fitted)):
        assert json.loads((run / f"{name}.json").read_text()) == numbers
    textvae("fit-prior", run, "--components", 4)
    assert (run / "metrics-train.json").is_file()
    assert not (run / "metrics-train-fitted-prior.json").exists()  # of the one before


def test_vectors_of_other_texts_have_noise_of_their_own(textvae, run, monkeypatch):
    """With that of the training vectors, a prior with many components would seem to fit a collapsed posterior."""
    drawn = []
    encode = TextVAE.encode

    def draw(self, *arguments, **options):
        drawn.append(options["seed"])
        return encode(self, *arguments, **options)

    monkeypatch.setattr(TextVAE, "encode", draw)
    textvae("fit-prior", run, "--components", 5, "--seed", 3)
    assert len(set(drawn)) == 2
    assert not {0, 1, 2, 3} & set(drawn)  # those of the evaluation, and the one that was given


def test_nothing_is_fitted_to_other_texts(textvae, run, tmp_path):
    (tmp_path / "other.txt").write_text("the cat sees something\n" * 40)
    result = textvae("fit-prior", run, f"data.source={tmp_path / 'other.txt'}", "--components", 5)
    assert (result.code, "its training texts are not those of when it was trained" in result.err) == (2, True)
    assert not (run / FITTED).exists()


def test_a_folder_that_cannot_be_written(textvae, run, monkeypatch):
    def full(*_, **__):
        raise SafetensorError("No space left on device")

    monkeypatch.setattr("textvae.latent.fitted.save_file", full)
    result = textvae("fit-prior", run, "--components", 5)
    assert (result.code, result.err) == (2, f"error: {run / FITTED}: No space left on device\n")


def test_a_fitted_prior_that_is_the_model_s_own(run):
    """Every estimate is the same, but for the rate, whose closed form is not known to it."""
    FittedPrior({"kind": "standard"}, 8).save(run)
    arguments = {"samples": 9, "bf16": False, "extras": Extras(refine=2)}
    own, vae, _ = evaluate_run(run, **arguments)
    fitted, same, _ = evaluate_run(run, **arguments, prior="fitted")
    assert fitted["prior"] == "fitted standard"
    assert fitted["iw_nll"] == pytest.approx(own["iw_nll"], abs=1e-5)
    assert fitted["rate"] == pytest.approx(own["rate"], abs=6 * own["sentences"] ** -0.5)
    assert fitted["self_bleu"] == own["self_bleu"]
    assert same.sample(3, seed=0) == vae.sample(3, seed=0)
    assert same.model.state_dict().keys() == vae.model.state_dict().keys()
    assert fitted["refined_iw_nll"] == pytest.approx(own["refined_iw_nll"], abs=0.2)


def test_a_corpus_that_has_moved(textvae, run, trained, tmp_path):
    """It is named anew, for the doctor too; no other key is to be changed."""
    whole = yaml.safe_load((run / "textvae.yaml").read_text())
    shutil.copy(whole["data"]["source"], tmp_path / "moved.txt")
    whole["data"]["source"] = "/no/where.txt"
    (run / "textvae.yaml").write_text(yaml.safe_dump(whole))
    moved = f"data.source={tmp_path / 'moved.txt'}"
    for command in (["fit-prior", run, "--components", 5], ["doctor", run]):
        assert textvae(*command).err.startswith("error: data.source: no such file or folder: /no/where.txt")
        assert textvae(*command, moved).code == 0
        result = textvae(*command, "training.seed=1")
        assert (result.code, "only keys of data can be changed" in result.err) == (2, True)
    rates = [textvae("doctor", *given, "--json").json["rate"] for given in ((run, moved), (trained.folder,))]
    assert rates[0] == rates[1]


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
        (
            ["evaluate", "RUN", "--prior", "fitted"],
            "prior: this model has no fitted prior; run `textvae fit-prior RUN`",
        ),
        (["evaluate", "RUN", "--prior", "fited"], "prior: 'fited' is not known; known: fitted, model"),
        (["fit-prior", "RUN", "--kind", "gmm"], "kind: 'gmm' is not known; known: flow, mixture"),
        (["fit-prior", "RUN", "--kind", "flow", "--components", "5"], "components: a flow has none"),
        (["fit-prior", "RUN", "--components", "9999"], "components: 9999 is not allowed with"),
    ],
    ids=str,
)
def test_mistakes(textvae, run, command, message):
    result = textvae(*[run if word == "RUN" else word for word in command])
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {message}")
    assert not (run / FITTED).exists()


@pytest.mark.parametrize("overlong", ["truncate", "drop"])
def test_it_is_fitted_to_texts_as_they_were_in_training(textvae, texts, tmp_path, overlong):
    """An encoder with learned positions could not even read the others; neither can the probes."""
    long, corpus = " ".join(texts[0].split() * 9), tmp_path / "corpus"
    corpus.mkdir()
    for split, part in (("train", [*texts[:200], long]), ("valid", texts[200:220]), ("test", texts[220:240])):
        rows = [f"{text}\t{number % 2}" for number, text in enumerate(part)]
        (corpus / f"{split}.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    encoder = "{kind: transformer, hidden_size: 16, num_heads: 2, num_layers: 1, positions: learned, max_positions: 12}"
    limits = ["data.max_length=8", f"data.overlong={overlong}", f"model.encoder={encoder}", "training.max_steps=2"]
    columns = ["data.text_column=text", "data.label_column=label"]
    run = train_tiny(tiny_recipe(corpus, tmp_path / "run", *columns, *limits))
    result = textvae("fit-prior", run.folder, "--components", 5, "--json")
    assert result.code == 0
    assert result.json["sentences"] == 200 + (overlong == "truncate")
    assert result.json["components"] == 5
    probes = textvae("evaluate", run.folder, "--samples", 2, "--probes", "--json")
    assert probes.code == 0
    assert 0 <= probes.json["probe_linear"] <= 1


def test_it_is_fitted_to_some_of_many_texts(textvae, run, trained, monkeypatch):
    """From all over the split; no others are encoded."""
    seen, encode = [], TextVAE.encode
    monkeypatch.setattr(TextVAE, "encode", lambda self, texts, **o: seen.append(texts) or encode(self, texts, **o))
    monkeypatch.setattr("textvae.evaluation.fitting.MOST_VECTORS", 30)
    report = textvae("fit-prior", run, "--components", 5, "--json").json
    train = trained.splits["train"]["text"][:]
    assert report["sentences"] == len(seen[0]) == 30
    assert set(seen[0]) <= set(train)
    assert set(seen[0]) != set(train[:30])


@pytest.mark.parametrize(
    ("asked", "message"),
    [(["--components", 9999], "components: 9999 is not allowed"), (["--kind", "flow"], "flow needs the package zuko")],
)
def test_what_cannot_be_fitted_is_told_before_texts_are_encoded(textvae, run, monkeypatch, asked, message):
    monkeypatch.setitem(sys.modules, "zuko.flows.coupling", None)
    monkeypatch.setattr(TextVAE, "encode", lambda *_, **__: pytest.fail("too late"))
    result = textvae("fit-prior", run, *asked)
    assert (result.code, result.err.startswith(f"error: {message}")) == (2, True)


def test_a_prior_that_is_worse_than_the_model_s_own_is_told(textvae, run, monkeypatch):
    worse = FittedPrior({"kind": "standard"}, 8)
    worse.mean.fill_(9.0)
    monkeypatch.setattr("textvae.evaluation.fitting.fit_prior", lambda *_: worse)
    result = textvae("fit-prior", run, "--components", 5)
    assert (result.code, "less likely under it than under the model's own prior" in result.err) == (0, True)
