"""The public names: what `import textvae` gives, and what it costs."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import textvae

NAMES = ["TextVAE", "TextVAEConfig", "TextVAEModel", "TextVAETrainer", "TextVAETrainingArguments"]


@pytest.mark.parametrize("name", [name for name in textvae.__all__ if name != "__version__"])
def test_names(name):
    """Each is there, is listed, and is the thing of that name in the module it comes from."""
    value = getattr(textvae, name)
    assert value.__name__ == name
    assert value.__module__.startswith("textvae.")
    assert getattr(sys.modules[value.__module__], name) is value
    assert name in dir(textvae)


def test_the_names_that_are_promised():
    assert set(NAMES) <= set(textvae.__all__)


def test_unknown_names():
    with pytest.raises(AttributeError, match="module 'textvae' has no attribute 'TextVEA'"):
        _ = textvae.TextVEA


def test_version():
    project = tomllib.loads((Path(textvae.__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["version"] == textvae.__version__


def test_import_costs_nothing():
    program = "import sys, textvae; print(*{name.split('.')[0] for name in sys.modules})"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {"torch", "transformers", "datasets", "numpy"}.isdisjoint(result.stdout.split())


BOTH_WAYS = {
    "textvae first": "import textvae; from transformers import AutoConfig, AutoModel",
    "transformers first": "from transformers import AutoConfig, AutoModel; import textvae",
    "the model alone": "import textvae; from transformers import AutoModel; from transformers import AutoConfig",
    "a model class": "import textvae; from transformers import GPT2LMHeadModel, PreTrainedModel, AutoConfig, AutoModel",
    "the trainer": "import textvae; from transformers import Trainer, AutoTokenizer, AutoModel, AutoConfig",
    "a configuration": "from textvae import TextVAEConfig; from transformers import AutoConfig, AutoModel",
    "another name": "from textvae import load_recipe; from transformers import AutoModel, AutoConfig",
    "a part": "import textvae.layers.pretrained; from transformers import AutoModel, AutoConfig",
    "the data": "import textvae.data.corpus, textvae.weights; from transformers import AutoModel, AutoConfig",
}


@pytest.mark.parametrize("imports", BOTH_WAYS.values(), ids=BOTH_WAYS)
def test_auto_classes_know_the_model(imports, trained):
    program = f"{imports}; import sys; print(type(AutoModel.from_pretrained(sys.argv[1])).__name__)"
    program += "; print(AutoConfig.from_pretrained(sys.argv[1]).model_type)"
    result = subprocess.run([sys.executable, "-c", program, str(trained.folder)], capture_output=True, text=True)
    assert result.stdout.split() == ["TextVAEModel", "textvae"], result.stderr
