"""From recipe to run folder: what stands in it, what is never overwritten, where weights may come from."""

import itertools
import json
import logging
import math
import pickle
import shutil
import zipfile

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import TrainerCallback

from tests.tiny import tiny_recipe, train_tiny
from textvae import TextVAE, load_recipe
from textvae.evaluation.report import KEYS
from textvae.hardware import has_bf16_on_cpu
from textvae.training.arguments import TextVAETrainingArguments
from textvae.training.folder import check_output

SHORT = ("training.max_steps=6", "training.logging_steps=1", "training.eval_steps=3", "training.save_steps=3")


@pytest.fixture
def short(corpus_file, tmp_path):
    """Trains for six steps into a folder of its own; positional arguments are overrides."""

    def run(*overrides, name="run", **options):
        return train_tiny(tiny_recipe(corpus_file, tmp_path / name, *SHORT, *overrides), **options)

    return run


@pytest.fixture(scope="module")
def template(corpus_file, tmp_path_factory):
    """The run that `short` makes without overrides."""
    return train_tiny(tiny_recipe(corpus_file, tmp_path_factory.mktemp("runs") / "run", *SHORT))


@pytest.fixture
def finished(template, tmp_path):
    """A copy of it, where `short` would make it."""
    return shutil.copytree(template.folder, tmp_path / "run")


# ---- What stands in a run folder ----


def test_contents(trained):
    assert {path.name for path in trained.folder.iterdir()} == {
        "README.md",
        "checkpoints",
        "config.json",
        "doctor.json",
        "generation_config.json",
        "logs",
        "metrics.json",
        "model.safetensors",
        "report.html",
        "samples.txt",
        "splits.json",
        "textvae.yaml",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_nothing_pickled_but_torch_s_own_state(trained):
    """A run can be passed on: only what resuming needs is pickled, and torch reads that without running code."""
    pickled = {path for path in trained.folder.rglob("*") if path.is_file() and _is_pickled(path)}
    assert {path.name for path in pickled} == {"optimizer.pt", "scheduler.pt", "rng_state.pth"}
    assert {path.parent.parent.name for path in pickled} == {"checkpoints"}


def _is_pickled(path):
    if zipfile.is_zipfile(path):
        return any(name.endswith(".pkl") for name in zipfile.ZipFile(path).namelist())
    try:
        pickle.loads(path.read_bytes())
    except Exception:
        return False
    return True


def test_metrics(trained):
    metrics = json.loads((trained.folder / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert set(metrics) == set(KEYS)
    assert metrics == trained.metrics
    assert metrics["split"] == "validation"
    assert metrics["iw_samples"] == 20
    assert metrics["sentences"] == len(trained.splits["validation"])
    values = [part for value in metrics.values() for part in (value if isinstance(value, list) else [value])]
    assert all(math.isfinite(value) for value in values if not isinstance(value, str))


def test_what_was_learnt(trained):
    """The run that the other tests lean on did learn something."""
    assert trained.metrics["nll"] < 13
    assert trained.metrics["rate"] > 4
    assert trained.metrics["active_units"] == 8
    assert trained.metrics["token_accuracy"] > 0.6


def test_recipe_is_resolved(trained, corpus_file):
    """All defaults are written down, and the file is a recipe that gives the same run again."""
    saved = yaml.safe_load((trained.folder / "textvae.yaml").read_text())
    assert saved["data"]["source"] == str(corpus_file)
    assert saved["model"]["encoder"]["bidirectional"] is True
    assert saved["objective"]["beta"] == {"schedule": "linear", "warmup": 0.3, "min": 0.0, "max": 0.3, "cycles": 4}
    again = load_recipe(trained.folder / "textvae.yaml", [f"output_dir={trained.folder}"])
    assert again == tiny_recipe(corpus_file, trained.folder)


def test_samples(trained):
    """Fifty from the prior, by the seed of training, which is 3 in this recipe."""
    lines = (trained.folder / "samples.txt").read_text(encoding="utf-8").splitlines()
    assert lines == trained.vae.sample(50, seed=3)


def test_history(trained):
    rows = [json.loads(line) for line in (trained.folder / "logs" / "history.jsonl").read_text().splitlines()]
    evaluations = [row for row in rows if "eval_nll" in row]
    assert [row["step"] for row in evaluations] == list(range(20, 201, 20))
    comparable = [row["eval_nll"] for row in evaluations if row["step"] >= 60]
    assert trained.metrics["nll"] == pytest.approx(min(comparable), rel=1e-4)
    assert 0 < trained.training_seconds < 300
    # Ours leaves out what comes before the first step, transformers' what comes after the last.
    assert trained.training_seconds == pytest.approx(rows[-1]["train_runtime"], abs=0.5)


def test_texts_of_several_lines_stay_apart(tmp_path, texts):
    """In samples.txt a blank line stands between texts that have line ends."""
    corpus = tmp_path / "verses.jsonl"
    rows = [json.dumps({"text": f"{a}\n{b}"}) for a, b in itertools.pairwise(texts)]
    corpus.write_text("\n".join(rows))
    run = train_tiny(tiny_recipe(corpus, tmp_path / "run", *SHORT, "generation.max_new_tokens=30"))
    samples = (run.folder / "samples.txt").read_text(encoding="utf-8")
    assert samples == "\n\n".join(run.vae.sample(50, seed=3)) + "\n"


# ---- What is never overwritten ----


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        ("run", {}, "holds a run; choose another folder, or pass --overwrite to replace it or --resume"),
        ("other", {}, "is not empty and holds no run; choose another folder"),
        ("other", {"overwrite": True}, "is not empty and holds no run"),
        ("other", {"resume": True}, "is not empty and holds no run"),
        ("file", {}, "is a file"),
        ("file", {"overwrite": True}, "is a file"),
        ("nothing", {"resume": True}, "--resume: there is no run in"),
        ("empty", {"resume": True}, "--resume: there is no run in"),
        ("run", {"resume": True, "overwrite": True}, "choose one"),
    ],
)
def test_refused(corpus_file, tmp_path, make, options, message):
    folder = tmp_path / "folder"
    if make == "file":
        folder.write_text("precious")
    elif make != "nothing":
        folder.mkdir()
    if make in ("run", "other"):
        (folder / ("textvae.yaml" if make == "run" else "thesis.tex")).write_text("precious")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=message):
        train_tiny(tiny_recipe(corpus_file, folder), **options)
    assert contents(tmp_path) == before
    assert folder.exists() is (make != "nothing")


def test_several_processes_are_refused(corpus_file, tmp_path, monkeypatch):
    """Each would make the run folder anew: the second one would move the first one's away."""
    monkeypatch.setattr(TextVAETrainingArguments, "world_size", property(lambda self: 2))
    with pytest.raises(ValueError, match="2 processes were started"):
        train_tiny(tiny_recipe(corpus_file, tmp_path / "folder"))
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("make", ["nothing", "empty"])
def test_accepted(tmp_path, make):
    if make == "empty":
        (tmp_path / "folder").mkdir()
    check_output(tmp_path / "folder", resume=False, overwrite=False)
    check_output(tmp_path / "folder", resume=False, overwrite=True)


def test_overwrite_leaves_nothing_of_the_old_run(short, template, tmp_path):
    """Also through a link to the folder, which stays one."""
    (tmp_path / "run").symlink_to(shutil.copytree(template.folder, tmp_path / "place"))
    (tmp_path / "run" / "metrics-test.json").write_text("{}")
    (tmp_path / "run" / "checkpoints" / "checkpoint-99").mkdir()
    short("training.max_steps=3", overwrite=True)
    assert (tmp_path / "run").is_symlink()
    assert not (tmp_path / "run" / "metrics-test.json").exists()
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} == {"best", "checkpoint-3"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["training.per_device_train_batch_size=300"],
            "260 training texts are fewer than one batch of 300: lower train",
        ),
        (["data.source=/no/where.txt"], "no such file or folder: /no/where"),
        (["training.init_from=/no/where"], "training.init_from: /no/where is not a run"),
        (["model.encoder.share_embeddings=true", "model.encoder.embedding_size=17"], "model.encoder.share_embeddings"),
        (["training.lr_scheduler_type=cosine_with_min_lr"], "min_lr"),
        (["tokenizer.kind=pretrained", "tokenizer.path=/no/where"], "tokenizer.path"),
        (["data.max_length=1", "data.overlong=drop"], "every training text has more than 1 tokens"),
        (
            ["data.max_length=6", "data.overlong=drop", "training.per_device_train_batch_size=240"],
            "training texts are fewer than one batch of 240",
        ),
    ],
)
def test_what_cannot_be_trained_leaves_no_folder(short, tmp_path, overrides, message):
    with pytest.raises(ValueError, match=message):
        short(*overrides)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "overrides",
    [
        ["training.optim=adamw_bnb_8bit"],  # refused when the optimiser is made
        ["training.remove_unused_columns=true"],  # in the first batch
    ],
)
def test_an_old_run_survives_what_fails_before_the_first_step(short, template, finished, overrides):
    before = contents(finished)
    with pytest.raises((ValueError, ImportError, KeyError, RuntimeError)):
        short(*overrides, overwrite=True)
    assert contents(finished) == before


def test_an_old_run_survives_an_interruption_before_the_first_step(short, finished):
    class Interrupt(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            raise KeyboardInterrupt

    before = contents(finished)
    with pytest.raises(KeyboardInterrupt):
        short(overwrite=True, callbacks=[Interrupt()])
    assert contents(finished) == before


def test_an_old_run_is_gone_with_the_first_step_of_the_new_one(short, finished):
    with pytest.raises(RuntimeError):
        short(overwrite=True, callbacks=[Break(2)])
    assert {path.name for path in finished.iterdir()} == {
        *("textvae.yaml", "splits.json", "tokenizer.json", "tokenizer_config.json"),
    } | {path.name for path in finished.iterdir() if path.name in ("checkpoints", "logs")}


def test_an_old_run_survives_what_cannot_be_trained(trained, tmp_path, corpus_file):
    shutil.copytree(trained.folder, tmp_path / "run")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="fewer than one batch"):
        train_tiny(
            tiny_recipe(corpus_file, tmp_path / "run", "training.per_device_train_batch_size=300"), overwrite=True
        )
    assert contents(tmp_path) == before


# ---- Resuming; tests/invariant/test_training.py shows that it changes nothing ----


class Break(TrainerCallback):
    """Stops training with an error after a step."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise RuntimeError("the power has gone")


@pytest.fixture
def broken(short, tmp_path):
    """A run that broke after its first checkpoint."""
    with pytest.raises(RuntimeError):
        short(callbacks=[Break(5)])
    assert not (tmp_path / "run" / "config.json").exists()
    return tmp_path / "run"


def test_resume_goes_on_from_the_last_checkpoint(short, broken):
    seen = []

    class See(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            seen.append(state.global_step)

    short(resume=True, callbacks=[See()])
    assert seen == [4, 5, 6]
    assert (broken / "metrics.json").is_file()


def test_resume_passes_over_a_half_written_checkpoint(short, broken):
    shutil.copytree(broken / "checkpoints" / "checkpoint-3", broken / "checkpoints" / "checkpoint-5")
    (broken / "checkpoints" / "checkpoint-5" / "trainer_state.json").unlink()
    short(resume=True)
    assert (broken / "metrics.json").is_file()


def test_resume_without_a_checkpoint_starts_again(short, template, tmp_path):
    with pytest.raises(RuntimeError):
        short(callbacks=[Break(1)])
    assert not list((tmp_path / "run" / "checkpoints").glob("checkpoint-*"))
    assert short(resume=True).metrics["nll"] == template.metrics["nll"]


def test_resume_of_a_finished_run_changes_no_weight(short, template, finished):
    """transformers alone would take a step more."""
    run = short(resume=True)
    assert (finished / "model.safetensors").read_bytes() == (template.folder / "model.safetensors").read_bytes()
    assert run.metrics | {"seconds": 0} == template.metrics | {"seconds": 0}


def test_resume_of_a_run_that_is_older_than_a_key(short, template, broken):
    """Such a run has the default of the key, and no other value."""
    file = broken / "textvae.yaml"
    sections = yaml.safe_load(file.read_text())
    assert sections["model"]["decoder"].pop("anchor_embeddings") is False
    file.write_text(yaml.safe_dump(sections))
    with pytest.raises(ValueError, match="--resume: model differ from"):
        short("model.decoder.anchor_embeddings=true", resume=True)
    assert short(resume=True).metrics["nll"] == template.metrics["nll"]


def test_resume_with_other_texts_is_refused(short, tmp_path, corpus_file):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(corpus_file.read_text())
    with pytest.raises(RuntimeError):
        short(f"data.source={corpus}", callbacks=[Break(5)])
    corpus.write_text(corpus.read_text().replace("the cat", "the bat"))
    before = contents(tmp_path / "run")
    with pytest.raises(ValueError, match=r"--resume: the train.* texts are not those with which the run was begun"):
        short(f"data.source={corpus}", resume=True)
    assert contents(tmp_path / "run") == before


def test_the_best_step_is_one_whose_weights_are_there(short, finished):
    """With a longer warm-up those of the best step before are not, of which the history still tells."""
    short("training.max_steps=9", "objective.beta.warmup=0.6", "objective.free_bits=2", resume=True)
    step = int((finished / "checkpoints" / "best" / "step.txt").read_text())
    rows = [json.loads(line) for line in (finished / "logs" / "history.jsonl").read_text().splitlines()]
    nll = next(row["eval_nll"] for row in rows if row["step"] == step and "eval_nll" in row)
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["nll"] == pytest.approx(nll, abs=1e-4)


def test_resume_for_longer(short, finished):
    short("training.max_steps=9", resume=True)
    assert {path.name for path in (finished / "checkpoints").iterdir()} == {"best", "checkpoint-9"}


OF_OLD_WEIGHTS = ("metrics.json", "metrics-test.json", "doctor.json", "fitted_prior.safetensors")


class Measure(TrainerCallback):
    """Somebody measures the run while it goes on, which has the weights of before."""

    def __init__(self, folder):
        self.folder = folder

    def on_step_end(self, args, state, control, **kwargs):
        for name in OF_OLD_WEIGHTS:
            (self.folder / name).write_text("{}")


def test_no_number_of_older_weights_stays(short, finished):
    weights = (finished / "model.safetensors").read_bytes()
    # With a longer warm-up the best step of before is none, so that the weights are others.
    longer = ["training.max_steps=9", "objective.beta.warmup=0.6", "objective.free_bits=2"]
    short(*longer, resume=True, callbacks=[Measure(finished)])
    assert (finished / "model.safetensors").read_bytes() != weights
    assert [name for name in OF_OLD_WEIGHTS if (finished / name).exists()] == ["metrics.json", "doctor.json"]
    for name in ("metrics.json", "doctor.json"):
        assert (finished / name).read_text() != "{}"


def test_a_run_that_goes_on_is_not_finished(short, finished):
    """What else was measured stays as long as the weights do."""
    for name in OF_OLD_WEIGHTS:
        (finished / name).write_text("{}")
    with pytest.raises(RuntimeError):
        short("training.max_steps=9", resume=True, callbacks=[Break(7)])
    assert [name for name in OF_OLD_WEIGHTS if not (finished / name).exists()] == ["metrics.json"]


def test_a_finished_run_that_goes_on_in_vain_keeps_its_numbers(short, finished):
    for name in OF_OLD_WEIGHTS[1::2]:
        (finished / name).write_text("{}")
    short(resume=True)
    assert all((finished / name).read_text() == "{}" for name in OF_OLD_WEIGHTS[1::2])


def test_metrics_are_written_last(short, tmp_path, monkeypatch):
    """A run that has them is a finished one."""
    monkeypatch.setattr("textvae.training.run.report_page", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        short()
    assert (tmp_path / "run" / "README.md").is_file()
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["model.latent.size=9"], "model"),
        (["tokenizer.min_frequency=2"], "tokenizer"),
        (["data.max_length=30"], "data"),
        (["model.decoder.hidden_size=9", "training.ema_decay=0"], "model and training.ema_decay"),
        (["objective={kind: target_rate}"], "objective.kind"),
        (["training.learning_rate=0.5"], "training.learning_rate"),
        (["training.weight_decay=9"], "training.weight_decay"),
        (["training.eval_steps=2", "training.logging_steps=7"], "training.logging_steps and training.eval_steps"),
        (["training.seed=99"], "training.seed"),
        (["training.per_device_train_batch_size=16"], "training.per_device_train_batch_size"),
    ],
)
def test_resume_with_another_model_is_refused(short, broken, overrides, named):
    before = contents(broken)
    with pytest.raises(ValueError, match=f"--resume: {named} differ from .*textvae.yaml"):
        short(*overrides, resume=True)
    assert contents(broken) == before


# ---- init_from ----


def test_init_from_takes_weights_and_tokenizer(short, trained, caplog):
    """At a learning rate of nothing the run starts and ends with the other's weights."""
    caplog.set_level(logging.INFO, "textvae")
    run = short(f"training.init_from={trained.folder}", "training.learning_rate=1e-30", "training.ema_decay=0")
    theirs = load_file(trained.folder / "model.safetensors")
    for name, value in load_file(run.folder / "model.safetensors").items():
        assert torch.equal(value, theirs[name])
    assert "start anew" not in caplog.text
    assert (run.folder / "tokenizer.json").read_bytes() == (trained.folder / "tokenizer.json").read_bytes()
    assert any(str(trained.folder) in notice for notice in run.corpus.notices)


def test_init_from_names_what_is_not_taken_over(trained, tmp_path, caplog):
    """Another corpus with the run's own tokenizer, and a model whose latent has another size."""
    corpus = tmp_path / "other.txt"
    corpus.write_text("\n".join(f"a zebra sees number {i}" for i in range(300)))
    recipe = tiny_recipe(
        corpus, tmp_path / "run", *SHORT, f"training.init_from={trained.folder}", "training.learning_rate=1e-30",
        "training.ema_decay=0", "model.latent.size=5",
    )  # fmt: skip
    run = train_tiny(recipe)
    theirs, ours = (load_file(folder / "model.safetensors") for folder in (trained.folder, run.folder))
    fresh = {name for name in ours if ours[name].shape != theirs[name].shape}
    assert fresh == {
        "posterior.mu.weight",
        "posterior.mu.bias",
        "posterior.logvar.weight",
        "posterior.logvar.bias",
        "decoder.initial.weight",
        "decoder.layers.0.weight_ih_l0",
    }
    assert all(torch.equal(ours[name], theirs[name]) for name in set(ours) - fresh)
    [warning] = [r.getMessage() for r in caplog.records if "these parts" in r.getMessage()]
    assert warning == f"these parts are not taken from there: {', '.join(sorted(fresh))}"
    assert len(run.vae.tokenizer) == len(trained.vae.tokenizer)
    assert run.metrics["unk_rate"] > 0.5


def test_init_from_a_run_without_weights(short, trained, tmp_path):
    (tmp_path / "half").mkdir()
    shutil.copy(trained.folder / "tokenizer.json", tmp_path / "half")
    shutil.copy(trained.folder / "tokenizer_config.json", tmp_path / "half")
    with pytest.raises(ValueError, match=r"is not a finished run: it has no model\.safetensors"):
        short(f"training.init_from={tmp_path / 'half'}")


def test_init_from_a_model_of_which_nothing_fits(short, trained, tmp_path):
    sizes = ["encoder.embedding_size=3", "encoder.hidden_size=5", "decoder.embedding_size=7", "decoder.hidden_size=9"]
    other = short("model.latent.size=3", *(f"model.{size}" for size in sizes), name="other")
    weights = load_file(other.folder / "model.safetensors")
    assert "decoder.softmax_bias" in weights  # as long as the vocabulary, which is the same
    del weights["decoder.softmax_bias"]
    save_file(weights, other.folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"training.init_from: no part of .* has the shape of this model"):
        short(f"training.init_from={other.folder}")


# ---- Arguments of transformers, from the recipe ----


def rows_of(run, key):
    lines = (run.folder / "logs" / "history.jsonl").read_text().splitlines()
    return [row[key] for row in map(json.loads, lines) if key in row]


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ("linear", [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        ("cosine", [(1 + math.cos(math.pi * step / 6)) / 2 for step in range(6)]),
        ("reduce_lr_on_plateau", [1, 1, 1, 1, 1, 1]),
    ],
)
def test_schedulers(short, scheduler, expected):
    run = short(f"training.lr_scheduler_type={scheduler}")
    assert rows_of(run, "learning_rate") == pytest.approx([0.03 * share for share in expected])


def test_a_recipe_of_many_arguments(short):
    """Warm-up, accumulation, another optimizer, epochs and bfloat16, as a YAML file would have them."""
    run = short(
        "training.warmup_steps=0.5",
        "training.lr_scheduler_type=constant_with_warmup",
        "training.gradient_accumulation_steps=3",
        "training.per_device_train_batch_size=20",
        "training.optim=adafactor",
        "training.max_steps=-1",
        "training.num_train_epochs=2",
        *(["training.bf16=true"] if has_bf16_on_cpu() else []),
        "training.eval_strategy=epoch",
        "training.save_strategy=epoch",
        "training.weight_decay=1e-2",
    )
    rates = rows_of(run, "learning_rate")
    assert len(rates) == 10  # 260 texts make 13 batches, which make 5 updates
    assert rates == pytest.approx([0.03 * min(1, step / 5) for step in range(10)])
    assert rows_of(run, "eval_nll")[-1] == pytest.approx(run.metrics["nll"], rel=0.02)
    loaded = TextVAE.from_pretrained(run.folder)
    assert torch.allclose(loaded.encode("the cat"), run.vae.encode("the cat"), atol=1e-6)


def test_tensorboard_writes_into_the_run(short, monkeypatch):
    """Each of two runs in one process into its own folder."""
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "/elsewhere")
    for name in ("one", "two"):
        run = short("training.report_to=tensorboard", name=name)
        events = EventAccumulator(str(run.folder / "logs"))
        events.Reload()
        assert {"train/loss", "train/rate", "train/beta", "eval/nll", "eval/active_units"} <= set(
            events.Tags()["scalars"]
        )
        assert [event.step for event in events.Scalars("eval/nll")] == [3, 6]
        assert events.Scalars("eval/nll")[-1].value == pytest.approx(rows_of(run, "eval_nll")[-1])


# ---- Other kinds of models ----


def test_plain_language_model(short):
    """The same code with a latent of size 0: trained, measured, sampled, written up."""
    run = short("model.latent.size=0")
    undefined = {"rate", "mutual_information", "mutual_information_cap", "active_units", "iw_samples"} | {
        "prior",
        "mutual_information_sentences",
        "marginal_kl",
        "mu_variance_per_dimension",
        "rate_per_dimension",
        "reconstruction_bleu",
        "bleu_signature",
        "token_accuracy",
        "exact_match",
    }
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert {key for key, value in metrics.items() if value is None} == undefined
    assert metrics["nll"] == pytest.approx(metrics["iw_nll"])
    loaded = TextVAE.from_pretrained(run.folder)
    assert loaded.sample(5, seed=0) == run.vae.sample(5, seed=0)
    assert "language model" in (run.folder / "README.md").read_text()
    page = (run.folder / "report.html").read_text()
    assert "Interpolation" not in page
    assert "Reconstructions" not in page


def test_autoencoder_without_beta(short):
    run = short("objective.beta=0", "objective.free_bits=0")
    assert run.metrics["rate"] > 0
    assert set(rows_of(run, "beta")) == {0.0}


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_transformers(short, side):
    part = "{kind: transformer, hidden_size: 16, num_heads: 2, num_layers: 1, dropout: 0.1}"
    run = short(f"model.{side}={part}")
    assert TextVAE.from_pretrained(run.folder).sample(3, seed=0) == run.vae.sample(3, seed=0)


def test_the_seed_decides(short, template):
    """The same recipe gives the same run, and another seed another one."""
    same, other = short(name="same"), short("training.seed=1", name="other")
    assert same.metrics | {"seconds": 0} == template.metrics | {"seconds": 0}
    assert (same.folder / "model.safetensors").read_bytes() == (template.folder / "model.safetensors").read_bytes()
    assert same.metrics["nll"] != other.metrics["nll"]


def test_arguments_without_effect_are_told(short, caplog):
    short("training.label_smoothing_factor=0.1")
    assert "training.label_smoothing_factor: no effect; the loss is the objective's" in caplog.text


def test_noise_brings_a_text_and_what_is_left_of_it_together(corpus_file, tmp_path):
    """What denoising is for: how far z moves when a word is lost, in distances between texts."""
    moved = []
    for drop in (0.0, 0.3):
        settings = ["objective={beta: 0.1}", "training.max_steps=150", "training.seed=0", f"data.noise.drop={drop}"]
        run = train_tiny(tiny_recipe(corpus_file, tmp_path / str(drop), *settings))
        texts = run.splits["train"]["text"][:100]
        words = [text.split() for text in texts]
        broken = [
            " ".join(word for place, word in enumerate(row) if place != n % len(row)) for n, row in enumerate(words)
        ]
        z, lost = run.vae.encode(texts), run.vae.encode(broken)
        moved.append(float((z - lost).norm(dim=1).mean() / torch.pdist(z).mean()))
    assert moved[1] < 0.8 * moved[0]
