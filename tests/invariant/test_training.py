"""A run that is broken off and resumed equals the run that was not, bit for bit on the processor."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from tests.tiny import tiny_recipe, train_tiny

STEPS = 20
# Six batches an epoch, so that the break at step 9 and the checkpoint at step 8 lie within the second epoch.
RECIPE = (
    f"training.max_steps={STEPS}",
    "training.per_device_train_batch_size=45",
    "training.logging_steps=1",
    "training.eval_steps=4",
    "training.save_steps=4",
)
DROPOUT = ("model.encoder.dropout=0.2", "model.decoder.dropout=0.3", "model.decoder.word_dropout=0.3")
TOTAL = "objective.free_bits_per=total"
TRANSFORMER = "{kind: transformer, hidden_size: 16, num_heads: 2, num_layers: 1, dropout: 0.2}"
VARIANTS = {
    "everything": (*DROPOUT, "model.decoder.embedding_dropout=0.2", "training.ema_decay=0.9"),
    "plain": ("training.ema_decay=0", "model.decoder.dropout=0", "model.decoder.word_dropout=0"),
    "accumulation": (*DROPOUT, "training.gradient_accumulation_steps=2", "training.per_device_train_batch_size=22"),
    "transformers": (f"model.encoder={TRANSFORMER}", f"model.decoder={TRANSFORMER}"),
    "language model": ("model.latent.size=0", *DROPOUT[1:]),
    "target rate": ("objective={kind: target_rate, rate: 3.0, multiplier_learning_rate: 0.1}", *DROPOUT),
    "infovae": ("objective={kind: infovae}", *DROPOUT),
    "iwae": ("objective={kind: iwae, num_samples: 3}", *DROPOUT),
    "adversarial": ("objective={kind: adversarial, hidden_size: 16}", *DROPOUT),
    "aggressive": ("training.aggressive=true", *DROPOUT),
    "noise": ("data.noise={drop: 0.2, blank: 0.1, swap: 0.1, shuffle: 2}", *DROPOUT),
    "augmented": ("data.augment={splice: 0.5, replace: 0.1}", "data.noise.drop=0.2", *DROPOUT),
    "batches by tokens": ("training.tokens_per_batch=600", "training.gradient_accumulation_steps=1", *DROPOUT),
    "batch norm": ("model.latent.posterior={kind: gaussian, batch_norm: 0.6}", "training.ema_decay=0.9", *DROPOUT),
    "mixture": ("model.latent.prior=mixture", TOTAL, *DROPOUT),
    "vamp": ("model.latent.prior=vamp", TOTAL, *DROPOUT),
    "flows": ("model.latent.posterior=flow", "model.latent.prior=flow", TOTAL, *DROPOUT),
    "vmf": ("model.latent.posterior=vmf", "model.latent.prior=uniform", TOTAL, *DROPOUT),
    "end of an epoch": ("training.per_device_train_batch_size=65", *DROPOUT),
}


class PowerCut(TrainerCallback):
    """Training ends with an error after step 9."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 9:
            raise RuntimeError("the power has gone")


class Stop(TrainerCallback):
    """Training ends by itself after step 9."""

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop |= state.global_step == 9


def outcome(folder):
    """What a run leaves: weights, those of its last checkpoint and their averages, the curves, the numbers."""
    files = ["model.safetensors", "checkpoints/best/model.safetensors"]
    files += [f"checkpoints/checkpoint-{STEPS}/{name}.safetensors" for name in ("model", "ema", "objective")]
    tensors = {file: load_file(folder / file) for file in files if (folder / file).exists()}
    rows = [json.loads(line) for line in (folder / "logs" / "history.jsonl").read_text().splitlines()]
    curves = [{key: row[key] for key in row if "seconds" not in key} for row in rows if "train_runtime" not in row]
    metrics = json.loads((folder / "metrics.json").read_text())
    return tensors, curves, metrics | {"seconds": 0}


@pytest.mark.parametrize("name", VARIANTS)
def test_resume_equals_the_uninterrupted_run(corpus_file, tmp_path, name):
    def run(folder, **options):
        return train_tiny(tiny_recipe(corpus_file, tmp_path / folder, *RECIPE, *VARIANTS[name]), **options)

    run("whole")
    with pytest.raises(RuntimeError, match="the power has gone"):
        run("broken", callbacks=[PowerCut()])
    torch.manual_seed(99)  # another process has another state
    run("broken", resume=True)
    tensors, curves, metrics = outcome(tmp_path / "whole")
    again, curves_again, metrics_again = outcome(tmp_path / "broken")
    assert tensors.keys() == again.keys()
    assert len(tensors) == 4 - (name == "plain") + (name in ("target rate", "adversarial"))
    for file, weights in tensors.items():
        assert all(torch.equal(value, again[file][key]) for key, value in weights.items()), file
    assert curves == curves_again
    assert metrics == metrics_again


STAGES = (
    "training.stages=[{max_steps: 12, objective: {kind: adversarial, hidden_size: 8}}, "
    "{max_steps: 12, reset: [decoder], learning_rate: 0.01, objective: {kind: target_rate, rate: 3}}, "
    "{max_steps: 20, objective: {beta: 1.0}}]"
)


class PowerCutIn(TrainerCallback):
    """Training ends with an error after a step of a stage."""

    def __init__(self, stage, step):
        self.stage, self.step = stage, step

    def on_step_end(self, args, state, control, **kwargs):
        if args.output_dir.endswith(self.stage) and state.global_step == self.step:
            raise RuntimeError("the power has gone")


@pytest.mark.parametrize(("stage", "step"), [("stage-1", 9), ("stage-2", 2), ("stage-2", 9), ("checkpoints", 9)])
def test_resume_in_any_stage(corpus_file, tmp_path, staged, stage, step):
    """Before the first checkpoint of a stage (they are written each 4 steps) or after it."""
    recipe = tiny_recipe(corpus_file, tmp_path / "broken", *IN_STAGES)
    with pytest.raises(RuntimeError, match="the power has gone"):
        train_tiny(recipe, callbacks=[PowerCutIn(stage, step)])
    torch.manual_seed(99)
    train_tiny(recipe, resume=True)
    tensors, curves, metrics = outcome(staged)
    again, curves_again, metrics_again = outcome(tmp_path / "broken")
    for file, weights in tensors.items():
        assert all(torch.equal(value, again[file][key]) for key, value in weights.items()), file
    assert curves == curves_again
    assert metrics == metrics_again


IN_STAGES = (*RECIPE[1:], STAGES, *DROPOUT)


@pytest.fixture(scope="module")
def staged(corpus_file, tmp_path_factory):
    """A run in three stages that was not broken off."""
    folder = tmp_path_factory.mktemp("runs") / "staged"
    recipe = tiny_recipe(corpus_file, folder, *IN_STAGES)
    train_tiny(recipe)
    return folder


def test_a_run_that_stopped_in_order_goes_on_as_well(corpus_file, tmp_path):
    """It was measured and written up when it stopped; that gives way to the whole run."""

    def run(folder, **options):
        return train_tiny(tiny_recipe(corpus_file, tmp_path / folder, *RECIPE), **options)

    run("whole")
    run("stopped", callbacks=[Stop()])
    assert not (tmp_path / "stopped" / "checkpoints" / f"checkpoint-{STEPS}").exists()
    stopped = outcome(tmp_path / "stopped")
    run("stopped", resume=True)
    again = outcome(tmp_path / "stopped")
    assert again[1:] == outcome(tmp_path / "whole")[1:]
    assert again[1:] != stopped[1:]
