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
