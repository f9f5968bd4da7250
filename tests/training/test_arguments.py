"""Training arguments: defaults that differ from transformers', and ranges."""

import pytest
import torch
from transformers import TrainingArguments

from textvae.training import arguments
from textvae.training.arguments import TextVAETrainingArguments

# What the documentation of the class promises.
DEFAULTS = {
    "max_steps": 3000,
    "per_device_train_batch_size": 64,
    "learning_rate": 1e-3,
    "lr_scheduler_type": "cosine",
    "max_grad_norm": 5.0,
    "eval_steps": 0.1,
    "logging_nan_inf_filter": False,
    "remove_unused_columns": False,
    "ema_decay": 0.0,
    "early_stopping_patience": 0,
}


def test_defaults(tmp_path):
    ours, theirs = TextVAETrainingArguments(str(tmp_path)), TrainingArguments(str(tmp_path))
    assert {name: getattr(ours, name) for name in DEFAULTS} == DEFAULTS
    assert ours.report_to == theirs.report_to == []


def test_all_arguments_of_transformers_are_there(tmp_path):
    given = {"warmup_steps": 0.1, "gradient_accumulation_steps": 3, "weight_decay": 0.1, "lr_scheduler_type": "linear"}
    args = TextVAETrainingArguments(str(tmp_path), **given)
    assert {name: getattr(args, name) for name in given} == given
    assert isinstance(args, TrainingArguments)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, None), ({"bf16": None}, None), ({"bf16": True}, True), ({"bf16": False}, False)],
)
def test_bf16_is_the_machine_s_choice_unless_given(tmp_path, monkeypatch, fast, given, expected):
    monkeypatch.setattr(arguments, "has_fast_bf16", lambda cpu: fast)
    monkeypatch.setattr(arguments, "has_bf16_on_cpu", lambda: True)
    assert TextVAETrainingArguments(str(tmp_path), **given).bf16 is (fast if expected is None else expected)


def test_bf16_on_a_processor_without_it(tmp_path, monkeypatch):
    monkeypatch.setattr(arguments, "has_bf16_on_cpu", lambda: False)
    with pytest.raises(ValueError, match=r"training\.bf16: true is not for this processor, .*; leave it null"):
        TextVAETrainingArguments(str(tmp_path), bf16=True, use_cpu=True)
    TextVAETrainingArguments(str(tmp_path), bf16=False, use_cpu=True)


def test_runs_on_what_there_is(tmp_path):
    assert TextVAETrainingArguments(str(tmp_path)).use_cpu is not torch.accelerator.is_available()
    assert TextVAETrainingArguments(str(tmp_path), use_cpu=True).device.type == "cpu"


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2])
def test_ema_decay_out_of_range(tmp_path, decay):
    with pytest.raises(ValueError, match=rf"training\.ema_decay: {decay} is not in \[0, 1\)"):
        TextVAETrainingArguments(str(tmp_path), ema_decay=decay)


def test_one_process_takes_one_accelerator(tmp_path):
    args = TextVAETrainingArguments(str(tmp_path), use_cpu=True)
    args._n_gpu = 4  # as on a machine with four
    assert (args.n_gpu, args.train_batch_size) == (1, args.per_device_train_batch_size)
