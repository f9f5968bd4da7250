"""`textvae encode`."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from textvae import TextVAE
from textvae.cli.vectors import SUFFIXES, read_vectors

TEXTS = ["the cat sees something at dawn", "the moon waits something by the sea", "the dog sings"]


@pytest.fixture(scope="module")
def z(trained):
    return TextVAE.from_pretrained(trained.folder).encode(TEXTS)


def write(path, column="text"):
    """TEXTS and a blank one, in the format that the ending names."""
    rows = [*TEXTS[:2], " ", TEXTS[2]]
    if path.suffix == ".parquet":
        pq.write_table(pa.table({column: rows}), path)
        return path
    content = {
        ".txt": "\n".join(rows),
        ".csv": "\n".join([column, *(f'"{row}"' for row in rows)]),
        ".tsv": "\n".join([column, *(f'"{row}"' for row in rows)]),
        ".jsonl": "\n".join(json.dumps({column: row}) for row in rows),
        ".json": json.dumps([{column: row} for row in rows]),
    }[path.suffix]
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_every_format_of_texts(textvae, trained, z, tmp_path, suffix):
    source, target = write(tmp_path / f"in{suffix}"), tmp_path / "z.npy"
    result = textvae("encode", trained.folder, source, target)
    assert (result.code, result.err) == (0, "")
    assert result.out == f"3 texts (1 blank ones left out), 8 dimensions -> {target}\n"
    assert torch.equal(read_vectors(target), z)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_of_vectors(textvae, trained, z, tmp_path, suffix):
    target = tmp_path / f"z{suffix}"
    result = textvae("encode", trained.folder, "-", target, "--json", stdin="\n".join(TEXTS))
    assert result.json == {"texts": 3, "blank": 0, "latent_size": 8, "file": str(target)}
    assert torch.equal(read_vectors(target), z)


def test_refined(textvae, trained, z, tmp_path):
    source, target = write(tmp_path / "in.txt"), tmp_path / "z.npy"
    textvae("encode", trained.folder, source, target, "--refine", 2)
    refined = read_vectors(target)
    assert torch.equal(refined, TextVAE.from_pretrained(trained.folder).encode(TEXTS, refine=2))
    assert not torch.equal(refined, z)


def test_another_column(textvae, trained, z, tmp_path):
    source = write(tmp_path / "in.csv", "title")
    textvae("encode", trained.folder, source, tmp_path / "z.npy", "--text-column", "title")
    assert torch.equal(read_vectors(tmp_path / "z.npy"), z)


def test_samples_of_the_posterior(textvae, trained, z, tmp_path):
    drawn = []
    for seed in (1, 1, 2):
        source = write(tmp_path / "in.txt")
        textvae("encode", trained.folder, source, tmp_path / "z.npy", "--sample", "--seed", seed)
        drawn.append(read_vectors(tmp_path / "z.npy"))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], z)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("no.txt", "z.npy", "IN: no.txt is not a file that ends in .txt, .csv"),
        ("in.doc", "z.npy", "IN: in.doc is not a file that ends in"),
        (".", "z.npy", "IN: . is not a file"),
        ("in.txt", "z.pt", "z.pt: unknown ending '.pt'"),
        ("in.txt", "no/z.npy", "OUT: there is no folder no"),
        ("blank.txt", "z.npy", "IN: blank.txt holds no text"),
        ("latin.txt", "z.npy", "latin.txt, line 1: not UTF-8"),
        ("in.csv", "z.npy", "in.csv, line 2: no column 'text'"),
    ],
)
def test_mistakes(textvae, trained, tmp_path, monkeypatch, source, target, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in.txt")
    write(tmp_path / "in.csv", "title")
    (tmp_path / "in.doc").write_text("a cat")
    (tmp_path / "blank.txt").write_text("\n\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    result = textvae("encode", trained.folder, source, target)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {message}")
    assert len(result.err.splitlines()) == 1
    assert not (tmp_path / target).exists()


def test_a_text_is_what_it_was_in_training(textvae, trained, tmp_path):
    """Paragraphs, in a run of paragraphs; and whatever --unit says."""
    folder = shutil.copytree(trained.folder, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    file = folder / "textvae.yaml"
    file.write_text(file.read_text().replace("unit: line", "unit: paragraph"))
    source = tmp_path / "in.txt"
    source.write_text("the cat\nsees something\n\nthe dog\nwaits\n")
    for options, count in (([], 2), (["--unit", "line"], 4), (["--unit", "document"], 1)):
        result = textvae("encode", folder, source, tmp_path / "z.npy", "--json", *options)
        assert result.json["texts"] == count


def test_blank_lines_of_stdin_are_counted(textvae, trained, tmp_path):
    result = textvae("encode", trained.folder, "-", tmp_path / "z.npy", "--json", stdin="the cat\n\n \r\nthe dog\n")
    assert (result.json["texts"], result.json["blank"]) == (2, 2)
    assert textvae("encode", trained.folder, "-", tmp_path / "z.npy", "--unit", "line", stdin="the cat\n").code == 0
    result = textvae("encode", trained.folder, "-", tmp_path / "y.npy", "--unit", "document", stdin="the cat\n")
    assert (result.code, result.err) == (2, "error: --unit document: a line of stdin is a text; give a file\n")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_read_is_not_written_over(textvae, trained, tmp_path, suffix):
    """Nor is a folder, and a file that is there stays until the new one is whole."""
    source = write(tmp_path / "in.jsonl")
    before = source.read_bytes()
    result = textvae("encode", trained.folder, source, source)
    assert result.code == 2
    assert result.err == f"error: OUT: {source} is IN as well, which would be lost; give another name\n"
    assert source.read_bytes() == before
    (tmp_path / f"folder{suffix}").mkdir()
    result = textvae("encode", trained.folder, source, tmp_path / f"folder{suffix}")
    assert (result.code, result.err) == (2, f"error: OUT: {tmp_path / f'folder{suffix}'} is a folder; wanted a file\n")
    assert len(list(tmp_path.iterdir())) == 2


def test_the_column_is_named_by_its_option(textvae, trained, tmp_path):
    source = write(tmp_path / "in.csv", column="title")
    result = textvae("encode", trained.folder, source, tmp_path / "z.npy")
    assert (result.code, "(set --text-column)" in result.err) == (2, True)
    assert textvae("encode", trained.folder, source, tmp_path / "z.npy", "--text-column", "title").code == 0
