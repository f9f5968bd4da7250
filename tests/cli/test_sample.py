"""`textvae sample`."""

import pytest

from textvae import TextVAE


@pytest.fixture(scope="module")
def vae(trained):
    return TextVAE.from_pretrained(trained.folder)


def test_lines(textvae, trained, vae):
    result = textvae("sample", trained.folder, "-n", 5, "--seed", 3)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == vae.sample(5, seed=3)


def test_eight_unless_told_otherwise(textvae, trained):
    one, two = (textvae("sample", trained.folder).out for _ in range(2))
    assert len(one.splitlines()) == len(two.splitlines()) == 8
    assert one != two


def test_json(textvae, trained, vae):
    assert textvae("sample", trained.folder, "-n", 3, "--seed", 1, "--json").json == {"samples": vae.sample(3, seed=1)}


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        (["--z-scale", "0.5"], {"z_scale": 0.5}),
        (["--greedy"], {"do_sample": False, "num_beams": 1}),
        (["--temperature", "3"], {"temperature": 3.0}),
        (["--top-p", "0.3"], {"top_p": 0.3}),
        (["--set", "top_k=2"], {"top_k": 2}),
        (["--set", "min_p=0.5", "--set", "temperature=4"], {"min_p": 0.5, "temperature": 4.0}),
        (["--set", "num_beams=3", "--set", "do_sample=false"], {"num_beams": 3, "do_sample": False}),
        (["--set", "max_new_tokens=2"], {"max_new_tokens": 2}),
        (["--set", "repetition_penalty=20", "--greedy"], {"repetition_penalty": 20.0, "do_sample": False}),
        (["--set", "no_repeat_ngram_size=1"], {"no_repeat_ngram_size": 1}),
        (["--set", "num_return_sequences=2"], {"num_return_sequences": 2}),
        (["--set", "length_penalty=-2", "--set", "num_beams=3"], {"length_penalty": -2.0, "num_beams": 3}),
    ],
    ids=str,
)
def test_options_reach_generation(textvae, trained, vae, options, fields):
    result = textvae("sample", trained.folder, "-n", 6, "--seed", 5, *options)
    assert result.out.splitlines() == vae.sample(6, seed=5, **fields)


def test_unknown_words(textvae, trained, monkeypatch):
    seen = {}
    monkeypatch.setattr(TextVAE, "decode", lambda self, z, seed, **options: seen.update(options) or ["text"] * len(z))
    textvae("sample", trained.folder, "--allow-unknown")
    assert seen.pop("allow_unknown") is True
    textvae("sample", trained.folder, "--set", "allow_unknown=true")
    assert seen.pop("allow_unknown") is True
    textvae("sample", trained.folder)
    assert seen == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "temprature=1"], "generation.temprature: unknown key; did you mean 'temperature'"),
        (["--set", "temperature"], "--set temperature: wanted KEY=VALUE"),
        (["--set", "temperature=hot"], "generation.temperature: 'hot' is not allowed"),
        (["--set", "temperature=[1"], "generation.temperature: '[1' is not allowed"),
        (["--temperature", "0"], "generation.temperature: 0.0 is not allowed"),
        (["--top-p", "1.5"], "generation.top_p: 1.5 is not allowed"),
        (["--set", "num_beams=0"], "generation.num_beams: 0 is not allowed"),
        (["--set", "num_return_sequences=two"], "generation.num_return_sequences: 'two' is not allowed"),
        (["--set", "streamer=x"], "generation.streamer: unknown key"),
        (["--greedy", "--temperature", "2"], "generation.temperature: only sampling reads it"),
        (["--z-scale", "nan"], "z holds values that are not finite"),
    ],
    ids=str,
)
def test_mistakes(textvae, trained, options, message):
    result = textvae("sample", trained.folder, *options)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {message}")
    assert len(result.err.splitlines()) == 1


def test_texts_of_several_lines_stay_apart(textvae, trained, monkeypatch):
    monkeypatch.setattr(TextVAE, "sample", lambda self, n, **options: ["one\ntwo", "three"])
    assert textvae("sample", trained.folder).out == "one\ntwo\n\nthree\n"
