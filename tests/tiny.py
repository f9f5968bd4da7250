"""A recipe that trains in two seconds, for the corpus of tests/conftest.py."""

import gc
from pathlib import Path

from textvae.recipe import Recipe, make_recipe
from textvae.training.run import Run, train

RECIPE = {
    "tokenizer": {"kind": "word"},
    "model": {
        "encoder": {"kind": "recurrent", "embedding_size": 16, "hidden_size": 32},
        "latent": {"size": 8},
        "decoder": {
            "kind": "recurrent",
            "embedding_size": 16,
            "hidden_size": 48,
            "dropout": 0.1,
            "word_dropout": 0.1,
        },
    },
    "objective": {
        "beta": {"schedule": "linear", "warmup": 0.3, "max": 0.3},
        "free_bits": 8.0,
        "free_bits_per": "dimension",
    },
    "training": {
        "max_steps": 200,
        "seed": 3,
        "per_device_train_batch_size": 32,
        "learning_rate": 0.03,
        "lr_scheduler_type": "linear",
        "ema_decay": 0.9,
        "bf16": False,
        "log_reconstructions": 0,
    },
    "generation": {"max_new_tokens": 12},
}


def tiny_recipe(corpus: Path, folder: Path, *overrides: str) -> Recipe:
    """RECIPE on a corpus, with overrides; stages stand in place of its steps."""
    values = dict(RECIPE)
    if any(override.startswith("training.stages") for override in overrides):
        values["training"] = {name: value for name, value in RECIPE["training"].items() if name != "max_steps"}
    return make_recipe(values, [f"data.source={corpus}", *overrides], folder)


def train_tiny(recipe: Recipe, **options) -> Run:
    """train, without the time that a trainer takes to look for garbage before it starts."""
    gc.freeze()
    return train(recipe, **options)
