"""Makes AutoConfig and AutoModel of transformers know the model as soon as both packages are imported.

Neither package imports the other before it is needed, since transformers and torch take seconds.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.util import find_spec

# Every way to an Auto class leads through this module.
AUTO = "transformers.models.auto.configuration_auto"


class _WhenImported(MetaPathFinder):
    """Finds AUTO as the import system does, and registers the model once it has been run."""

    def find_spec(self, name, path=None, target=None):
        if name != AUTO:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            _register()

        spec.loader.exec_module = exec_module
        return spec


def _register() -> None:
    # A module of textvae that is on its way into memory registers the model itself, where it needs it.
    if not any(name.startswith("textvae.") and name != __name__ for name in sys.modules):
        import_module("textvae.modeling")


def introduce() -> None:
    """Registers the model now or when transformers' Auto classes are imported."""
    if AUTO in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _WhenImported())
