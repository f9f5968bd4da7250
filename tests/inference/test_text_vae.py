"""TextVAE: texts to vectors and back, on lists, single strings and tensors."""

import contextlib
import io
import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi, ModelCard, RepoUrl
from transformers import AutoConfig, AutoModel, AutoTokenizer, TextIteratorStreamer
from transformers.generation import utils as generation

from tests.tiny import tiny_recipe, train_tiny
from textvae import TextVAE, TextVAEConfig, TextVAEModel
from textvae.inference import text_vae as module
from textvae.inference.decoding import decode_rows
from textvae.inference.text_vae import WORDS
from textvae.tokenization import decode as to_texts


@pytest.fixture(scope="module")
def vae(trained):
    """Loaded from the run folder, as users do."""
    return TextVAE.from_pretrained(trained.folder)


@pytest.fixture(scope="module")
def language_model(tokenizer):
    """A plain language model: no encoder, no latent."""
    torch.manual_seed(0)
    part = {"kind": "recurrent", "embedding_size": 8, "hidden_size": 8}
    config = TextVAEConfig(vocab_size=len(tokenizer), encoder=part, latent={"size": 0}, decoder=part)
    return TextVAE(TextVAEModel(config), tokenizer)


def state_of_randomness():
    return torch.get_rng_state().tolist()


# ---- Text to z ----


def test_encode_gives_the_posterior_mean(vae, texts):
    z = vae.encode(texts[:5])
    assert z.shape == (5, 8)
    assert (z.dtype, z.device.type, z.requires_grad) == (torch.float32, "cpu", False)
    for text, row in zip(texts[:5], z, strict=True):
        ids = torch.tensor([vae.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            torch.testing.assert_close(vae.model.encode(ids, torch.ones_like(ids)).mean[0], row)


def test_encode_one_text(vae, texts):
    one = vae.encode(texts[0])
    assert one.shape == (8,)
    assert torch.equal(one, vae.encode([texts[0]])[0])


@pytest.mark.parametrize("kind", [tuple, iter, np.array])
def test_encode_any_row_of_texts(vae, texts, kind):
    assert torch.equal(vae.encode(kind(texts[:3])), vae.encode(texts[:3]))


def test_encode_nothing(vae):
    assert vae.encode([]).shape == (0, 8)
    assert vae.decode(torch.zeros(0, 8)) == []


def test_order_is_kept(vae, texts, monkeypatch):
    """More texts than a batch holds, of many lengths: each gets its own vector and its own copy."""
    many = [text.rsplit(" ", cut)[0] for text, cut in zip(texts, itertools.cycle(range(4)), strict=False)]
    assert len(many) > module.BATCH
    together = vae.encode(many)
    copies = vae.reconstruct(many)
    for row in range(0, len(many), 7):
        torch.testing.assert_close(together[row], vae.encode(many[row]), atol=1e-5, rtol=1e-4)
        assert copies[row] == vae.reconstruct(many[row])
    monkeypatch.setattr(module, "BATCH", 10)
    torch.testing.assert_close(vae.encode(many), together, atol=1e-5, rtol=1e-4)


def test_samples_of_the_posterior(vae, texts):
    """Their mean and spread are those of q."""
    z = vae.encode([texts[0]] * 4000, sample=True, seed=0)
    ids = torch.tensor([vae.tokenizer(texts[0])["input_ids"]])
    with torch.no_grad():
        q = vae.model.encode(ids, torch.ones_like(ids))
    deviation = (0.5 * q.logvar[0]).exp()
    assert ((z.mean(0) - q.mean[0]).abs() < 5 * deviation / 4000**0.5).all()
    torch.testing.assert_close(z.std(0), deviation, rtol=0.06, atol=0)


def test_unknown_words_are_encoded(vae):
    assert torch.isfinite(vae.encode("zebras never existed")).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("", "text 1 of 1 is blank: there is nothing to encode"),
        (" \n\t ", "text 1 of 1 is blank"),
        (["the cat", " "], "text 2 of 2 is blank"),
        (["the cat", 5], "text 2 of 2 is a int, not a text"),
        ([None], "text 1 of 1 is a NoneType, not a text"),
    ],
)
def test_encode_refuses(vae, wrong, message):
    with pytest.raises(ValueError, match=message):
        vae.encode(wrong)


# ---- z to text ----


def test_no_warning_where_the_pad_token_is_the_end_of_a_text(vae, monkeypatch):
    """As in many pretrained tokenizers: transformers would say that it cannot guess the attention mask."""
    said = []
    for name in ("warning", "warning_once"):
        monkeypatch.setattr(generation.logger, name, lambda text, *_: said.append(text))
    for beams in (1, 2):
        vae.decode(torch.zeros(3, vae.latent_size), num_beams=beams, pad_token_id=vae.model.config.eos_token_id)
    assert not said


def test_decode(vae):
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    texts = vae.decode(z, do_sample=False)
    ids = vae.model.generate(z=z, do_sample=False, max_new_tokens=12)
    assert texts == to_texts(vae.tokenizer, ids.tolist())
    assert len(set(texts)) > 1


@pytest.mark.parametrize("kind", [torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.double])
def test_decode_other_kinds_of_vectors(vae, kind):
    z = torch.ones(2, 8)
    assert vae.decode(kind(z), do_sample=False) == vae.decode(z, do_sample=False)


def test_decode_one_vector(vae):
    assert vae.decode(torch.ones(8), do_sample=False) == vae.decode(torch.ones(1, 8), do_sample=False)[0]


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (torch.zeros(2, 7), r"z has shape \(2, 7\); this model wants \(N,8\)"),
        (torch.zeros(7), r"z has shape \(7,\); this model wants \(N,8\)"),
        (torch.zeros(2, 2, 8), r"z has shape \(2, 2, 8\)"),
        (torch.tensor(1.0), r"z has shape \(\)"),
        (torch.tensor([[0.0] * 7 + [torch.nan]]), "z holds values that are not finite"),
        (torch.tensor([torch.inf] * 8), "z holds values that are not finite"),
    ],
)
def test_decode_refuses(vae, z, message):
    with pytest.raises(ValueError, match=message) as error:
        vae.decode(z)
    assert "\n" not in str(error.value)


def test_several_texts_of_each_vector_stand_side_by_side(vae):
    z = 2 * torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    texts = vae.decode(z, seed=0, num_return_sequences=4, do_sample=True, top_k=1)
    alone = vae.decode(z, do_sample=False)
    assert texts == [text for text in alone for _ in range(4)]
    assert len(vae.decode(z[0], num_return_sequences=4, seed=0)) == 4


GREEDY = {"do_sample": False}


@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": True, "top_k": 1},
        {"do_sample": True, "top_p": 1e-6},
        {"do_sample": True, "min_p": 1.0},
        {"do_sample": True, "temperature": 1e-4},
        {"do_sample": False, "num_beams": 1},
        {"do_sample": False, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0},
    ],
    ids=str,
)
def test_options_that_amount_to_greedy_decoding(vae, options):
    z = torch.randn(5, 8, generator=torch.Generator().manual_seed(2))
    assert vae.decode(z, seed=0, **options) == vae.decode(z, **GREEDY)


@pytest.mark.parametrize(
    "options",
    [
        {"max_new_tokens": 2, **GREEDY},
        {"num_beams": 4, **GREEDY},
        {"repetition_penalty": 30.0, **GREEDY},
        {"no_repeat_ngram_size": 1, **GREEDY},
        {"do_sample": True, "temperature": 3.0},
        {"do_sample": True, "top_k": 3, "temperature": 3.0},
        {"do_sample": True, "top_p": 0.5, "temperature": 3.0},
        {"do_sample": True, "min_p": 0.2, "temperature": 3.0},
    ],
    ids=str,
)
def test_options_reach_generation(vae, options):
    """Each changes something, and does what transformers does with it (sampling draws in a way of its own)."""
    z = 3 * torch.randn(20, 8, generator=torch.Generator().manual_seed(3))
    texts = vae.decode(z, seed=0, **options)
    torch.manual_seed(WORDS)  # what a seed of 0 is to words
    loop = {}
    if options.get("do_sample"):
        loop = {"top_k": 0, "top_p": 0.95, "custom_generate": decode_rows}
    ids = vae.model.generate(z=z, **{"max_new_tokens": 12} | loop | options)
    assert texts == to_texts(vae.tokenizer, ids.tolist())
    assert texts != vae.decode(z, **GREEDY)


def test_the_run_s_own_way_of_decoding_is_the_default(trained, vae):
    config = vae.generation_config()
    own = trained.vae.model.generation_config
    for name in ("max_new_tokens", "do_sample", "top_p", "temperature", "suppress_tokens"):
        assert getattr(config, name) == getattr(own, name)
    assert config.max_new_tokens == 12
    assert config.top_p == 0.95


def test_sampling_where_the_run_decodes_greedily(tokenizer, language_model):
    """Its configuration names no field of sampling; then nothing is cut off, neither the 50 likeliest words."""
    config = language_model.generation_config(do_sample=True)
    assert (config.top_k, config.top_p, config.temperature) == (0, None, None)
    assert language_model.generation_config().top_k == 50  # which means nothing in greedy decoding
    assert language_model.generation_config(do_sample=True, top_k=3).top_k == 3


def test_unknown_words_only_when_allowed(vae):
    model = TextVAEModel.from_pretrained(vae.model.name_or_path)
    with torch.no_grad():
        model.decoder.softmax_bias[vae.model.config.unk_token_id] += 50
    likes_unknown = TextVAE(model, vae.tokenizer)
    assert "<unk>" not in likes_unknown.decode(torch.zeros(8), **GREEDY)
    assert "<unk>" in likes_unknown.decode(torch.zeros(8), allow_unknown=True, **GREEDY)
    assert "<unk>" not in likes_unknown.decode(torch.zeros(8), allow_unknown=False, **GREEDY)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temprature": 0.5}, "generation.temprature: unknown key; did you mean 'temperature'"),
        ({"do_sample": False, "temperature": 0.5}, "generation.temperature: only sampling reads it"),
        ({"do_sample": False, "top_p": 0.5}, "generation.top_p: only sampling reads it"),
        ({"temperature": -1.0}, "temperature"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"do_sample": False, "num_return_sequences": 2}, "num_return_sequences"),
    ],
)
def test_options_that_make_no_sense(vae, options, message):
    with pytest.raises(ValueError, match=message):
        vae.decode(torch.zeros(8), **options)


def test_streamer(vae):
    streamer = TextIteratorStreamer(vae.tokenizer, skip_special_tokens=True)
    text = vae.decode(torch.ones(8), streamer=streamer, **GREEDY)
    assert "".join(streamer).split() == text.split()
    assert text


# ---- Sampling, seeds ----


def test_sample(vae):
    texts, z = vae.sample(300, seed=0, return_z=True)
    assert len(texts) == len(z) == 300
    assert texts == vae.decode(z, seed=0)
    assert texts != vae.decode(z, seed=WORDS)  # the random numbers of z
    assert abs(float(z.mean())) < 0.1
    assert float(z.std()) == pytest.approx(1, abs=0.05)


def test_posteriors_have_random_numbers_of_their_own(vae, texts):
    """Or draws from a collapsed posterior would be those from the prior."""
    text, n = texts[0], 50
    mu, drawn = vae.encode([text] * n), vae.encode([text] * n, sample=True, seed=0)
    own = torch.randn(1, n, vae.latent_size, generator=torch.Generator().manual_seed(0))[0]
    assert float(torch.corrcoef(torch.stack([(drawn - mu).flatten(), own.flatten()]))[0, 1]) < 0.3


def test_copies_are_not_cut(vae, texts, monkeypatch):
    """A text that is longer than what the run generates has the room that it needs."""
    monkeypatch.setattr(vae.model.generation_config, "max_new_tokens", 2)
    asked = []
    decode = vae.decode
    monkeypatch.setattr(
        vae, "decode", lambda z, **options: asked.append(options["max_new_tokens"]) or decode(z, **options)
    )
    longest = len(texts[0].split()) + 1 + 5
    vae.reconstruct(texts[:1])
    vae.interpolate(texts[0], "the cat")
    vae.interpolate(texts[0], torch.zeros(8), max_new_tokens=3)
    assert asked == [longest, longest, 3]
    monkeypatch.setattr(vae.model.generation_config, "max_new_tokens", 99)
    vae.reconstruct(texts[0])
    assert asked[-1] == 99


def test_what_is_null_is_the_run_s_own(vae):
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    usual = vae.decode(z, seed=0)
    assert vae.decode(z, seed=0, num_beams=None, do_sample=None, top_k=None, temperature=None) == usual


def test_few_vectors_at_a_time_where_each_has_many_texts(vae, monkeypatch):
    sizes, generate = [], vae.model.generate
    monkeypatch.setattr(vae.model, "generate", lambda z, **rest: sizes.append(len(z)) or generate(z=z, **rest))
    assert len(vae.decode(torch.zeros(9, 8), do_sample=True, num_return_sequences=64, max_new_tokens=2)) == 9 * 64
    assert sizes == [4, 4, 1]


def test_a_card_that_is_not_utf8(vae, tmp_path):
    vae.save_pretrained(tmp_path)
    (tmp_path / "README.md").write_bytes(b"caf\xe9")
    assert TextVAE.from_pretrained(tmp_path).sample(2, seed=0) == vae.sample(2, seed=0)


def test_z_scale_is_a_factor_on_the_noise_of_z(vae):
    texts, z = vae.sample(8, seed=3, return_z=True, **GREEDY)
    _, half = vae.sample(8, seed=3, z_scale=0.5, return_z=True)
    torch.testing.assert_close(half, 0.5 * z)
    assert set(vae.sample(8, z_scale=0.0, **GREEDY)) == {vae.decode(torch.zeros(8), **GREEDY)}
    assert len(set(texts)) > 1


@pytest.mark.parametrize(
    "draw",
    [
        lambda vae, seed: vae.sample(6, seed=seed),
        lambda vae, seed: vae.sample(6, seed=seed, return_z=True)[1].tolist(),
        lambda vae, seed: vae.encode(["the cat sees something"] * 3, sample=True, seed=seed).tolist(),
        lambda vae, seed: vae.decode(torch.zeros(6, 8), seed=seed, do_sample=True, temperature=3.0),
        lambda vae, seed: vae.reconstruct(["the cat"] * 6, seed=seed, do_sample=True, temperature=3.0),
        lambda vae, seed: vae.interpolate("the cat", "the moon", seed=seed, do_sample=True, temperature=3.0),
    ],
    ids=["sample", "z", "posterior", "decode", "reconstruct", "interpolate"],
)
def test_seeds_repeat_and_leave_the_global_state_alone(vae, draw):
    torch.manual_seed(5)
    before = state_of_randomness()
    first = draw(vae, 1)
    assert state_of_randomness() == before
    torch.manual_seed(6)
    assert draw(vae, 1) == first
    assert draw(vae, 2) != first
    torch.manual_seed(5)
    free = [draw(vae, None), draw(vae, None)]
    assert free[0] != free[1]
    torch.manual_seed(5)
    assert draw(vae, None) == free[0]


def test_sample_refuses_none(vae):
    with pytest.raises(ValueError, match="n: 0 is too few; ask for at least 1 sample"):
        vae.sample(0)


# ---- Reconstruction, interpolation ----


def test_reconstructions_belong_to_their_sentences(vae, texts):
    """Subject, verb and place of a copy are those of its own text far more often than those of another."""
    copies = [copy.split() for copy in vae.reconstruct(texts)]
    originals = [text.split() for text in texts]

    def share(of):
        """Of the three words that vary, those that are right."""
        pairs = list(zip(copies, of, strict=True))
        return sum(copy[i : i + 1] == text[i : i + 1] for copy, text in pairs for i in (1, 2, 4)) / (3 * len(pairs))

    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0)).tolist()
    assert share(originals) > 2 * share([originals[row] for row in order])


def test_reconstruct_is_greedy_from_the_mean(vae, texts):
    assert vae.reconstruct(texts[:4]) == vae.decode(vae.encode(texts[:4]), **GREEDY)
    assert vae.reconstruct(texts[0]) == vae.reconstruct(texts[:1])[0]


@pytest.mark.parametrize("method", ["slerp", "lerp"])
def test_interpolate(vae, texts, method):
    a, b = texts[0], texts[-1]
    path = vae.interpolate(a, b, 5, method)
    assert len(path) == 5
    assert [path[0], path[-1]] == vae.reconstruct([a, b])
    assert path == vae.interpolate(vae.encode(a), vae.encode(b), 5, method)
    assert path[::-1] == vae.interpolate(b, a, 5, method)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("the cat", "the moon", 1), "steps: 1 is too few"),
        (("the cat", "the moon", 3, "arc"), "method: 'arc' is not known"),
        (("the cat", " "), "is blank"),
        ((torch.zeros(7), torch.zeros(7)), r"an end of a path has shape \(7,\); this model wants \(8,\)"),
        ((torch.zeros(8), torch.zeros(2, 8)), r"an end of a path has shape \(2, 8\)"),
        ((["the cat"], ["the moon"]), r"an end of a path is a text or a latent vector, not \['the cat'\]"),
        ((torch.full((8,), torch.nan), torch.zeros(8)), "not finite"),
    ],
)
def test_interpolate_refuses(vae, arguments, message):
    with pytest.raises(ValueError, match=message):
        vae.interpolate(*arguments)


# ---- A plain language model ----


def test_language_model_samples(language_model):
    texts, z = language_model.sample(20, seed=0, return_z=True, max_new_tokens=8, do_sample=True)
    assert z.shape == (20, 0)
    assert len(set(texts)) > 1
    assert texts == language_model.sample(20, seed=0, max_new_tokens=8, do_sample=True)


@pytest.mark.parametrize(
    "use",
    [
        lambda vae: vae.encode("the cat"),
        lambda vae: vae.reconstruct(["the cat"]),
        lambda vae: vae.interpolate("the cat", "the moon"),
    ],
)
def test_language_model_has_no_encoder(language_model, use):
    with pytest.raises(ValueError, match="plain language model"):
        use(language_model)


# ---- Loading and saving ----


def test_the_folder_holds_the_model_of_training(trained, vae, texts):
    """What was trained in memory and what is loaded give the same numbers."""
    torch.testing.assert_close(trained.vae.encode(texts[:9]), vae.encode(texts[:9]), atol=1e-5, rtol=1e-5)
    assert trained.vae.sample(9, seed=4) == vae.sample(9, seed=4)
    assert not vae.model.training
    assert vae.model.dtype == torch.float32


def test_save_and_load(vae, texts, tmp_path):
    vae.save_pretrained(tmp_path / "copy")
    again = TextVAE.from_pretrained(tmp_path / "copy")
    assert torch.equal(vae.encode(texts[:9]), again.encode(texts[:9]))
    assert vae.sample(9, seed=4) == again.sample(9, seed=4)
    assert vae.generation_config().to_dict() == again.generation_config().to_dict()
    assert again.card == vae.card
    assert "| nll |" in (tmp_path / "copy" / "README.md").read_text(encoding="utf-8")


def test_half_precision_weights_are_loaded_in_full(vae, texts, tmp_path):
    vae.save_pretrained(tmp_path)
    TextVAEModel.from_pretrained(tmp_path).to(torch.bfloat16).save_pretrained(tmp_path)
    again = TextVAE.from_pretrained(tmp_path)
    assert again.model.dtype == torch.float32
    torch.testing.assert_close(again.encode(texts[:3]), vae.encode(texts[:3]), atol=0.3, rtol=0)


def test_automatic_classes_know_the_model(trained, texts):
    model = AutoModel.from_pretrained(trained.folder)
    assert isinstance(model, TextVAEModel)
    assert isinstance(AutoConfig.from_pretrained(trained.folder), TextVAEConfig)
    tokenizer = AutoTokenizer.from_pretrained(trained.folder)
    assert torch.equal(TextVAE(model, tokenizer).encode(texts[:3]), trained.vae.encode(texts[:3]))


def copied(trained, folder, *without):
    """The files of a run, but for some."""
    folder.mkdir()
    for path in trained.folder.iterdir():
        if path.is_file() and path.name not in without:
            shutil.copy(path, folder)
    return folder


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "no such run: "),
        (lambda folder: (folder / "config.json").unlink(), "is not a finished run: it has no config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot load "),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"half"), "cannot load "),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot load "),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "cannot load "),
    ],
)
def test_broken_runs(trained, tmp_path, break_it, message):
    folder = copied(trained, tmp_path / "run")
    break_it(folder)
    with pytest.raises(ValueError, match=message) as error:
        TextVAE.from_pretrained(folder)
    assert "\n" not in str(error.value)


def test_weights_of_another_model(trained, tmp_path):
    """transformers would fill in random numbers and say so in a log."""
    folder = copied(trained, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    config["encoder"]["num_layers"] = 2
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="its weights lack encoder"):
        TextVAE.from_pretrained(folder)


@pytest.mark.parametrize("name", ["./nowhere", "/no/where", "a/b/c", "nowhere", ""])
def test_names_that_can_be_no_model(name):
    with pytest.raises(ValueError, match=r"no such run: |not a finished run"):
        TextVAE.from_pretrained(name)


def test_a_folder_that_lacks_in_a_folder_that_exists(tmp_path, monkeypatch):
    """runs/headlnes is a misspelt folder, and no model of the user `runs`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(ValueError, match="no such run: runs/headlnes"):
        TextVAE.from_pretrained("runs/headlnes")


def test_a_model_that_the_hub_does_not_give():
    with pytest.raises(ValueError, match="cannot load nobody/nothing: ") as error:
        TextVAE.from_pretrained("nobody/nothing", local_files_only=True)
    assert "\n" not in str(error.value)


def test_push_to_hub(vae, monkeypatch):
    """What would go up, in one commit: a whole model, its tokenizer and a card with its numbers."""
    uploads = []

    def create_repo(self, repo_id, **options):
        assert options == {"private": True, "exist_ok": True}
        return RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(self, *, repo_id, folder_path, commit_message, delete_patterns):
        assert delete_patterns == "fitted_prior.safetensors"  # of a model that was there before; this one has none
        files = {path.name: path.read_bytes() for path in sorted(module.Path(folder_path).iterdir())}
        uploads.append((repo_id, self.token, commit_message, files))

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    address = vae.push_to_hub("someone/tiny", private=True, token="secret", commit_message="First")
    assert str(address) == "https://huggingface.co/someone/tiny"
    [(repo, token, message, files)] = uploads
    assert (repo, token, message) == ("someone/tiny", "secret", "First")
    assert set(files) == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    card = ModelCard(files["README.md"].decode())
    assert card.data.to_dict()["library_name"] == "textvae"
    assert 'TextVAE.from_pretrained("someone/tiny")' in card.text
    metrics = json.loads((module.Path(vae.model.name_or_path) / "metrics.json").read_text())
    assert f"| nll | {metrics['nll']:.4g} |" in card.text
    assert not any(b"secret" in content for content in files.values())


def test_push_to_hub_without_a_card(language_model, monkeypatch):
    uploads = []
    monkeypatch.setattr(HfApi, "create_repo", lambda self, name, **_: RepoUrl(f"https://huggingface.co/{name}"))
    monkeypatch.setattr(
        HfApi,
        "upload_folder",
        lambda self, folder_path, **_: uploads.extend(p.name for p in module.Path(folder_path).iterdir()),
    )
    language_model.push_to_hub("someone/tiny")
    assert "model.safetensors" in uploads
    assert "README.md" not in uploads


# ---- What only some models have ----


@pytest.fixture
def beams(trained, tmp_path, corpus_file):
    """A model whose recipe decodes by beam search, and has a nucleus for those who ask for sampling."""
    folder = tmp_path / "beams"
    options = ["do_sample=false", "num_beams=3", "top_p=0.7"]
    train_tiny(tiny_recipe(corpus_file, folder, "training.max_steps=2", *(f"generation.{x}" for x in options)))
    return TextVAE.from_pretrained(folder)


def test_sampling_from_a_run_that_does_not_sample(beams):
    """Its beams have no part in it, and its nucleus has."""
    assert beams.generation_config().num_beams == 3
    config = beams.generation_config(do_sample=True)
    assert (config.num_beams, config.top_p, config.top_k, config.temperature) == (1, 0.7, 0, 1.0)
    assert beams.generation_config(do_sample=True, num_beams=2, top_p=0.5).num_beams == 2
    assert beams.generation_config(do_sample=True, top_p=0.5).top_p == 0.5
    z = torch.zeros(1, 8).expand(60, -1)
    assert len(set(beams.decode(z, seed=0, do_sample=True, temperature=3.0, top_p=1.0))) > 50
    assert len(set(beams.decode(z, seed=0))) == 1


def test_the_nucleus_of_a_run_goes_with_its_model(beams, tmp_path):
    beams.save_pretrained(tmp_path / "copy")
    assert TextVAE.from_pretrained(tmp_path / "copy").generation_config(do_sample=True).top_p == 0.7


def test_a_language_model_samples_words_whatever_the_run_does(language_model, monkeypatch):
    """Without z a beam search would give one text again and again."""
    monkeypatch.setattr(language_model.model.generation_config, "do_sample", False)
    assert len(set(language_model.sample(20, seed=0, max_new_tokens=8))) > 10


def test_no_code_of_a_model_is_run(trained, tmp_path, monkeypatch):
    """Not even where somebody would say yes."""
    folder = shutil.copytree(trained.folder, tmp_path / "evil", ignore=shutil.ignore_patterns("checkpoints"))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'was_here')!r}, 'w')\n")
    file = folder / "tokenizer_config.json"
    evil = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": [None, "evil.Evil"]}}
    file.write_text(json.dumps(json.loads(file.read_text()) | evil))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    with contextlib.suppress(ValueError):
        TextVAE.from_pretrained(folder)
    assert not (tmp_path / "was_here").exists()


def test_saving_over_a_model_leaves_no_fitted_prior_of_it(vae, tmp_path):
    (tmp_path / "fitted_prior.safetensors").write_bytes(b"of other weights")
    vae.save_pretrained(tmp_path)
    assert not (tmp_path / "fitted_prior.safetensors").exists()


def test_refining_in_inference_mode(vae, texts):
    with torch.inference_mode():
        z = vae.encode(texts[:2], refine=2)
    torch.testing.assert_close(z, vae.encode(texts[:2], refine=2))


def test_a_long_text_does_not_widen_the_batch_of_short_ones(vae, monkeypatch):
    """Each is encoded as if it were alone, in the order given."""
    texts = ["the cat sees something", "the moon waits " * 3000, "the dog", "the cat sings at dawn"]
    alone, shapes = torch.stack([vae.encode(text) for text in texts]), []
    encode = vae.model.encode
    monkeypatch.setattr(
        vae.model, "encode", lambda **batch: shapes.append(tuple(batch["input_ids"].shape)) or encode(**batch)
    )
    torch.testing.assert_close(vae.encode(texts), alone, rtol=1e-4, atol=1e-5)
    assert [shape[0] for shape in shapes] == [1, 3]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda vae: vae.decode(torch.zeros(8), return_dict_in_generate=True),
            "in_generate: decoding gives texts",
        ),
        (lambda vae: vae.decode(torch.zeros(8), guidance_scale=2.0), "guidance_scale: decoding gives texts"),
        (lambda vae: vae.decode(torch.zeros(8), stop_strings=["a"]), "stop_strings: decoding gives texts"),
        (lambda vae: vae.decode(torch.zeros(8), max_length=5), "generation.max_length: the run has max_new_tokens"),
        (lambda vae: vae.interpolate("a", "b", num_return_sequences=2), "a path has one text a step"),
        (lambda vae: TextVAE.from_pretrained("nobody/nothing", local_files_only=True), "there is no such folder here"),
    ],
)
def test_more_that_is_refused(vae, call, message):
    with pytest.raises(ValueError, match=message):
        call(vae)
