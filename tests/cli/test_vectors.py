"""Files of latent vectors."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from textvae.cli.vectors import SUFFIXES, check_suffix, read_vectors, write_vectors

TEXTS = ["a cat", "山水 🙂", "two\nlines"]
Z = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([1e-8, 1e-3, 1.0, 1e3, 1e8])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(tmp_path, suffix):
    """Bit for bit, in float32."""
    path = tmp_path / f"z{suffix}"
    write_vectors(path, TEXTS, Z)
    again = read_vectors(path)
    assert again.dtype == torch.float32
    assert torch.equal(again, Z)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_texts_stand_beside_the_vectors(tmp_path):
    write_vectors(tmp_path / "z.jsonl", TEXTS, Z)
    rows = [json.loads(line) for line in (tmp_path / "z.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
    assert [row["text"] for row in rows] == TEXTS
    write_vectors(tmp_path / "z.parquet", TEXTS, Z)
    table = pq.read_table(tmp_path / "z.parquet")
    assert table["text"].to_pylist() == TEXTS
    assert table.schema.field("z").type == pa.list_(pa.float32(), 5)


def test_vectors_of_other_programs(tmp_path):
    """Double precision, lists of any length in parquet, further columns and tensors."""
    np.save(tmp_path / "z.npy", Z.double().numpy())
    save_file({"z": Z.double(), "other": torch.zeros(1)}, tmp_path / "z.safetensors")
    pq.write_table(pa.table({"z": Z.double().tolist(), "n": [1, 2, 3]}), tmp_path / "z.parquet")
    (tmp_path / "z.jsonl").write_text("\n\n".join(json.dumps({"z": row}) for row in Z.tolist()))
    for suffix in SUFFIXES:
        assert torch.equal(read_vectors(tmp_path / f"z{suffix}"), Z)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("z.npy", None, "no such file: "),
        ("z.txt", b"1 2", "unknown ending '.txt'; known: .parquet, .jsonl, .safetensors, .npy"),
        ("z.npy", b"", "cannot be read"),
        ("z.npy", b"broken", "cannot be read"),
        ("z.parquet", b"broken", "cannot be read"),
        ("z.safetensors", b"broken", "cannot be read"),
        ("z.jsonl", b"{", "cannot be read"),
        ("z.jsonl", b'{"z": [1, 2]}\n{"z": [1]}', "cannot be read"),
        ("z.jsonl", b'{"z": ["a"]}', "cannot be read"),
        ("z.jsonl", b"[1, 2]", "cannot be read"),
        ("z.jsonl", b'{"x": [1]}', "no column z"),
        ("z.jsonl", b'{"z": 1}', r"z has shape \(1,\); wanted \(N,D\)"),
        ("z.jsonl", b"", r"z has shape \(0,\)"),
        ("z.jsonl", b"\xff", "cannot be read"),
    ],
)
def test_what_cannot_be_read(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_vectors(tmp_path / name)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_without_z(tmp_path):
    save_file({"x": Z}, tmp_path / "z.safetensors")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "z.parquet")
    for suffix in (".safetensors", ".parquet"):
        with pytest.raises(ValueError, match="no column z"):
            read_vectors(tmp_path / f"z{suffix}")


def test_nothing_is_unpickled(tmp_path):
    """An array of objects could run code when it is read."""
    np.save(tmp_path / "z.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="cannot be read"):
        read_vectors(tmp_path / "z.npy")


@pytest.mark.parametrize("name", ["z", "z.pt", "z.csv", "npy"])
def test_unknown_endings(tmp_path, name):
    with pytest.raises(ValueError, match="unknown ending"):
        check_suffix(tmp_path / name)
