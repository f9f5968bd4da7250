"""Files of latent vectors: parquet and jsonl keep the texts beside them, safetensors and npy hold z alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from textvae.writing import whole_file

SUFFIXES = (".parquet", ".jsonl", ".safetensors", ".npy")


def check_suffix(path: Path) -> None:
    """Raises ValueError for an ending that names no known format."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: unknown ending {path.suffix!r}; known: {', '.join(SUFFIXES)}")


def write_vectors(path: Path, texts: list[str], z: Tensor) -> None:
    """Writes N texts and z (N,D)."""
    with whole_file(path) as draft:
        _write(draft, texts, z)


def _write(path: Path, texts: list[str], z: Tensor) -> None:
    if path.suffix == ".npy":
        np.save(path, z.numpy(), allow_pickle=False)
    elif path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file({"z": z.contiguous()}, path)
    elif path.suffix == ".jsonl":
        with path.open("w", encoding="utf-8") as file:
            for text, row in zip(texts, z.tolist(), strict=True):
                file.write(json.dumps({"text": text, "z": row}, ensure_ascii=False) + "\n")
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        vectors = pa.FixedSizeListArray.from_arrays(pa.array(z.numpy().ravel()), z.shape[1])
        pq.write_table(pa.table({"text": texts, "z": vectors}), path)


def read_vectors(path: Path) -> Tensor:
    """Reads z (N,D).

    Raises:
        ValueError: no such file, a broken one, or one without z.
    """
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    check_suffix(path)
    try:
        if path.suffix == ".npy":
            z = torch.from_numpy(np.load(path, allow_pickle=False)).float()
        elif path.suffix == ".safetensors":
            from safetensors.torch import load_file

            z = load_file(path)["z"].float()
        elif path.suffix == ".jsonl":
            lines = path.read_text(encoding="utf-8").split("\n")
            rows = [json.loads(line)["z"] for line in lines if line.strip()]
            z = torch.tensor(rows, dtype=torch.float32)
        else:
            import pyarrow.parquet as pq

            z = torch.tensor(pq.read_table(path)["z"].to_pylist(), dtype=torch.float32)
    except KeyError:
        raise ValueError(f"{path}: no column z") from None
    except Exception as error:  # each format's reader has errors of its own for a broken file
        raise ValueError(f"{path}: cannot be read: {' '.join(str(error).split())[:200]}") from None
    if z.dim() != 2:
        raise ValueError(f"{path}: z has shape {tuple(z.shape)}; wanted (N,D)")
    return z
