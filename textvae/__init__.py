"""textvae: variational autoencoders of text. The public names; each is imported when it is first used."""

from importlib import import_module

from textvae.auto import introduce

__version__ = "0.1.0"

_PLACES = {
    "TextVAE": "textvae.inference.text_vae",
    "TextVAEConfig": "textvae.configuration",
    "TextVAEModel": "textvae.modeling",
    "TextVAETrainer": "textvae.training.trainer",
    "TextVAETrainingArguments": "textvae.training.arguments",
    "evaluate_run": "textvae.evaluation.run",
    "load_recipe": "textvae.recipe",
    "train": "textvae.training.run",
}

__all__ = [*_PLACES, "__version__"]


def __getattr__(name: str):
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'textvae' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


introduce()
