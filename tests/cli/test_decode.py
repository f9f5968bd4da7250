"""`textvae decode`."""

import json
import shutil

import pytest
import torch

from textvae import TextVAE
from textvae.cli.vectors import SUFFIXES, write_vectors

Z = 1.5 * torch.randn(6, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def greedy(trained):
    return TextVAE.from_pretrained(trained.folder).decode(Z, do_sample=False)


@pytest.fixture
def vectors(tmp_path):
    write_vectors(tmp_path / "z.npy", [""] * 6, Z)
    return tmp_path / "z.npy"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_of_vectors(textvae, trained, greedy, tmp_path, suffix):
    write_vectors(tmp_path / f"z{suffix}", ["text"] * 6, Z)
    result = textvae("decode", trained.folder, tmp_path / f"z{suffix}", "-")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == greedy


def test_every_format_of_texts(textvae, trained, greedy, vectors, tmp_path):
    result = textvae("decode", trained.folder, vectors, tmp_path / "out.txt")
    assert result.out == f"6 texts -> {tmp_path / 'out.txt'}\n"
    assert (tmp_path / "out.txt").read_text(encoding="utf-8").splitlines() == greedy
    result = textvae("decode", trained.folder, vectors, tmp_path / "out.jsonl", "--json")
    assert result.json == {"texts": 6, "file": str(tmp_path / "out.jsonl")}
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows == [{"text": text} for text in greedy]
    assert textvae("decode", trained.folder, vectors, "-", "--json").json == {"texts": greedy}


def test_encode_and_decode_are_reconstruction(textvae, trained, tmp_path):
    originals = ["the cat sees something at dawn", "the moon waits something by the sea"]
    textvae("encode", trained.folder, "-", tmp_path / "z.parquet", stdin="\n".join(originals))
    decoded = textvae("decode", trained.folder, tmp_path / "z.parquet", "-", "--json").json["texts"]
    assert decoded == textvae("reconstruct", trained.folder, *originals, "--json").json["reconstructions"]


def test_texts_of_several_lines(textvae, trained, vectors, tmp_path, monkeypatch):
    """A line a text in .txt; .jsonl keeps line ends."""
    monkeypatch.setattr(TextVAE, "decode", lambda self, z, **options: ["one\ntwo", "three 山"])
    textvae("decode", trained.folder, vectors, tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == "one two\nthree 山\n"
    textvae("decode", trained.folder, vectors, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == '{"text": "one\\ntwo"}\n{"text": "three 山"}\n'


def test_sampling(textvae, trained, vectors):
    options = ["--sample", "--set", "temperature=4"]
    runs = [textvae("decode", trained.folder, vectors, "-", *options, "--seed", seed).out for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    assert textvae("decode", trained.folder, vectors, "-", *options[1:], "--seed", 1).out == runs[0]


@pytest.mark.parametrize(
    ("shape", "target", "message"),
    [
        ((2, 7), "-", "z has shape (2, 7); this model wants (N,8)"),
        ((2, 2, 8), "-", "z.npy: z has shape (2, 2, 8); wanted (N,D)"),
        ((2, 8), "out.csv", "OUT: out.csv has an unknown ending; known: .txt, .jsonl, or - for stdout"),
        ((2, 8), "no/out.txt", "OUT: there is no folder no"),
        (None, "-", "no such file: z.npy"),
    ],
)
def test_mistakes(textvae, trained, tmp_path, monkeypatch, shape, target, message):
    monkeypatch.chdir(tmp_path)
    if shape:
        write_vectors(tmp_path / "z.npy", [], torch.zeros(shape))
    result = textvae("decode", trained.folder, "z.npy", target)
    assert (result.code, result.out) == (2, "")
    assert result.err == f"error: {message}\n"


def test_sampling_needs_no_more_than_the_option(textvae, trained, tmp_path):
    """In a run that decodes by beam search as well."""
    folder = shutil.copytree(trained.folder, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    file = folder / "generation_config.json"
    values = {
        name: value for name, value in json.loads(file.read_text()).items() if name not in ("top_p", "temperature")
    }
    file.write_text(json.dumps(values | {"num_beams": 4, "do_sample": False}))
    write_vectors(tmp_path / "z.npy", [""] * 40, torch.zeros(40, 8))
    sampled = textvae("decode", folder, tmp_path / "z.npy", "-", "--sample", "--seed", 1, "--set", "temperature=3")
    assert len(set(sampled.out.splitlines())) > 30
    assert len(set(textvae("decode", folder, tmp_path / "z.npy", "-").out.splitlines())) == 1


def test_the_file_that_is_read_is_not_written_over(textvae, trained, tmp_path):
    write_vectors(tmp_path / "z.jsonl", ["text"] * 6, Z)
    before = (tmp_path / "z.jsonl").read_bytes()
    result = textvae("decode", trained.folder, tmp_path / "z.jsonl", tmp_path / "z.jsonl")
    assert (result.code, "is IN as well" in result.err) == (2, True)
    assert (tmp_path / "z.jsonl").read_bytes() == before
