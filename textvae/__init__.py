"""textvae: variational autoencoders of text."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textvae.configuration import TextVAEConfig
    from textvae.inference.text_vae import TextVAE
    from textvae.modeling import TextVAEModel
    from textvae.training.arguments import TextVAETrainingArguments
    from textvae.training.trainer import TextVAETrainer

__version__ = "0.1.0"

_PLACES = {
    "TextVAE": "textvae.inference.text_vae",
    "TextVAEConfig": "textvae.configuration",
    "TextVAEModel": "textvae.modeling",
    "TextVAETrainer": "textvae.training.trainer",
    "TextVAETrainingArguments": "textvae.training.arguments",
}

__all__ = ["TextVAE", "TextVAEConfig", "TextVAEModel", "TextVAETrainer", "TextVAETrainingArguments", "__version__"]


def __getattr__(name: str):
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'textvae' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
