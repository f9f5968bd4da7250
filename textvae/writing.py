"""Files that are there whole or as they were before."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write a file that takes its place once all of it is written.

    Raises:
        OSError: it cannot be written.
    """
    from safetensors import SafetensorError

    place = path.resolve()
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        draft = Path(scratch) / place.name
        try:
            yield draft
        except SafetensorError as error:  # a full disk, in words of its own
            raise OSError(f"{path}: {error}") from None
        os.replace(draft, place)
