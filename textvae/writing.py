"""Files that are there whole or as they were before."""

from __future__ import annotations

import contextlib
import os
import shutil
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
    try:
        with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
            draft = Path(scratch) / place.name
            yield draft
            if place.exists():
                shutil.copymode(place, draft)
            os.replace(draft, place)
    except SafetensorError as error:  # a full disk, in words of its own
        raise OSError(f"{path}: {error}") from None
    except OSError as error:  # which would name the draft
        raise OSError(error.errno, error.strerror, str(path)) if error.errno else error from None
