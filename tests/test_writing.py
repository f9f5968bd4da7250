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


def test_a_mode_that_was_given_stays(tmp_path):
    file = tmp_path / "file.txt"
    file.write_text("before")
    file.chmod(0o664)
    with whole_file(file) as draft:
        draft.write_text("after")
    assert file.stat().st_mode & 0o777 == 0o664


def test_a_folder_that_is_none(tmp_path):
    file = tmp_path / "nothing" / "file.txt"
    with pytest.raises(FileNotFoundError) as found, whole_file(file) as draft:
        draft.write_text("")
    assert found.value.filename == str(file)


def test_what_a_full_disk_is_called(tmp_path):
    with pytest.raises(OSError, match=r"a\.safetensors: no space"), whole_file(tmp_path / "a.safetensors"):
        raise SafetensorError("no space")
