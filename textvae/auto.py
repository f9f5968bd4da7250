"""Makes AutoConfig and AutoModel of transformers know the model as soon as both packages are imported.

Neither package imports the other before it is needed, since transformers and torch take seconds. The configuration is
registered when the Auto classes are imported; it registers the model when the first configuration is made, which every
way to a model begins with.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.util import find_spec

# Every way to an Auto class leads through this module.
AUTO = "transformers.models.auto.configuration_auto"


class _WhenImported(MetaPathFinder):
    """Finds AUTO as the import system does, and registers the configuration once it has been run."""

    searching = False

    def find_spec(self, name, path=None, target=None):
        if name != AUTO or self.searching:
            return None
        self.searching = True
        try:
            spec = find_spec(name)
        finally:
            self.searching = False
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            import_module("textvae.configuration")

        spec.loader.exec_module = exec_module
        return spec


def introduce() -> None:
    """Registers the configuration now or when transformers' Auto classes are imported."""
    if AUTO in sys.modules:
        import_module("textvae.configuration")
    else:
        sys.meta_path.insert(0, _WhenImported())
