"""Files that are there whole or as they were before."""

import contextlib

import pytest
from safetensors import SafetensorError

from textvae.writing import whole_file


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "file.txt"
    file.write_text("before")
    (tmp_path / "link.txt").symlink_to(file)
    with contextlib.suppress(RuntimeError), whole_file(tmp_path / "link.txt") as draft:
        draft.write_text("half")
        raise RuntimeError
    assert file.read_text() == "before"
    with whole_file(tmp_path / "link.txt") as draft:
        draft.write_text("after")
    assert file.read_text() == "after"
    assert (tmp_path / "link.txt").is_symlink()
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_full_disk_is_called(tmp_path):
    with pytest.raises(OSError, match=r"a\.safetensors: no space"), whole_file(tmp_path / "a.safetensors"):
        raise SafetensorError("no space")
