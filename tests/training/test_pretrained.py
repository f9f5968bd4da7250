"""A pretrained pair with two tokenizers, from its folders through training to a run that needs neither."""

import dataclasses
import json
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from datasets import Dataset, DatasetDict
from huggingface_hub import HfApi, ModelCard, constants
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BertTokenizer,
    TrainerCallback,
)
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput

from tests.pretrained import DECODERS, SEQ2SEQ, UNTIED, make_pair, recipe_of
from textvae import TextVAE, train, weights
from textvae.data.collator import Collator
from textvae.data.config import NoiseConfig
from textvae.data.corpus import Corpus
from textvae.data.encoding import encode_corpus
from textvae.encoders.pretrained import PretrainedEncoder
from textvae.evaluation.likelihood import evaluate_bound
from textvae.layers.word_vectors import AnchoredEmbedding
from textvae.recipe import make_recipe
from textvae.tokenization import TokenizerConfig, load_tokenizer, make_tokenizer
from textvae.training.building import build_model, load_pretrained
from textvae.training.card import model_card
from textvae.training.features import with_summaries
from textvae.training.stages import predicting


@pytest.fixture(scope="module")
def pair(tmp_path_factory, texts):
    return make_pair(tmp_path_factory.mktemp("pretrained"), texts)


@pytest.fixture(scope="module")
def run(pair, tmp_path_factory, texts):
    return train(recipe_of(pair, tmp_path_factory.mktemp("pair"), texts))


def test_each_side_reads_its_own_tokens(run):
    row = run.splits["validation"][0]
    assert run.vae.encoder_tokenizer.decode(row["encoder_ids"], skip_special_tokens=True) == row["text"]
    assert run.vae.tokenizer.decode(row["ids"], skip_special_tokens=True) == row["text"]
    assert row["encoder_ids"] != row["ids"]


def test_the_frozen_part_is_the_pretrained_one_and_the_other_has_moved(run, pair):
    for side, loader, same in (("encoder", AutoModel, True), ("decoder", AutoModelForCausalLM, False)):
        theirs = loader.from_pretrained(pair / side).state_dict()
        ours = getattr(run.vae.model, side).backbone.state_dict()
        equal = [torch.equal(ours[name][: len(value)], value) for name, value in theirs.items()]
        assert all(equal) if same else sum(equal) < 0.5 * len(equal)


def test_another_process_loads_the_folder_alone(run, pair, texts, tmp_path):
    """Identical vectors and texts, with the pretrained folders out of the way."""
    moved = [(pair / side, tmp_path / side) for side in ("encoder", "decoder")]
    for source, target in moved:
        source.rename(target)
    code = (
        "import sys, json; from textvae import TextVAE; vae = TextVAE.from_pretrained(sys.argv[1]);"
        "z = vae.encode(json.loads(sys.argv[2])); print(json.dumps([z.tolist(), vae.decode(z)]))"
    )
    try:
        command = [sys.executable, "-c", code, str(run.folder), json.dumps(texts[:5])]
        done = subprocess.run(command, capture_output=True, text=True)
    finally:
        for source, target in moved:
            target.rename(source)
    assert not done.returncode, done.stderr
    z, decoded = json.loads(done.stdout.splitlines()[-1])
    ours = run.vae.encode(texts[:5])
    torch.testing.assert_close(torch.tensor(z), ours, rtol=1e-6, atol=1e-6)
    assert decoded == run.vae.decode(ours)
    longest = run.vae.model.generation_config.max_new_tokens  # copies have more room than that
    assert TextVAE.from_pretrained(run.folder).reconstruct(texts[:5], max_new_tokens=longest) == decoded


def test_without_the_base_weights(pair, texts, tmp_path):
    """What is not trained is not saved, and comes from where it came from."""
    decoder = {"save_base": False, "train": "last", "last_layers": 1}
    run = train(recipe_of(pair, tmp_path, texts, encoder={"save_base": False}, decoder=decoder))
    files = sorted(run.folder.rglob("model.safetensors"))
    assert len(files) == 3  # of the run, of its best and its last checkpoint
    for saved in map(load_file, files):
        assert not any(name.startswith("encoder.backbone.") for name in saved)
        assert {name for name in saved if ".layers.0." in name} == set()
        assert any(".layers.1." in name for name in saved)
        # The tokenizer lacked padding and unk: a vocabulary that has grown is saved, though not trained.
        assert "decoder.backbone.model.embed_tokens.weight" in saved
    again = TextVAE.from_pretrained(run.folder)
    torch.testing.assert_close(again.encode(texts[:5]), run.vae.encode(texts[:5]))
    assert again.reconstruct(texts[:5]) == run.vae.reconstruct(texts[:5])


def test_other_weights_in_the_place_of_those_left_out_are_refused(pair, texts, tmp_path):
    shutil.copytree(pair / "encoder", tmp_path / "encoder")
    run = train(recipe_of(pair, tmp_path, texts, encoder={"save_base": False, "name": str(tmp_path / "encoder")}))
    TextVAE.from_pretrained(run.folder)
    other = AutoModel.from_pretrained(tmp_path / "encoder")
    with torch.no_grad():
        other.encoder.layer[1].output.dense.weight[0, 0] += 1
    other.save_pretrained(tmp_path / "encoder")
    with pytest.raises(ValueError, match=r"model\.encoder\.name: .*/encoder holds other weights than those with which"):
        TextVAE.from_pretrained(run.folder)


def test_a_run_that_needs_a_folder_of_this_machine_is_not_uploaded(pair, texts, tmp_path, run, monkeypatch):
    monkeypatch.setattr(HfApi, "create_repo", lambda *_, **__: pytest.fail("made a repository"))
    alone = train(recipe_of(pair, tmp_path, texts, encoder={"save_base": False}))
    with pytest.raises(ValueError, match=r"model\.encoder\.save_base: false leaves weights in .*/encoder, which "):
        alone.vae.push_to_hub("someone/tiny")
    card = (alone.folder / "README.md").read_text()
    assert f"read from there again: weights of `{pair / 'encoder'}`." in card
    assert "base_model" not in card
    assert "read from there again" not in (run.folder / "README.md").read_text()


def test_the_card_names_base_models_of_the_hub(run):
    config = run.vae.model.config
    before = config.encoder, config.decoder
    config.encoder, config.decoder = before[0] | {"name": "someone/bert"}, before[1] | {"name": "package:some"}
    recipe = make_recipe({"data": {"source": "sample:headlines"}}, [], run.folder)
    try:
        card = ModelCard(model_card(recipe, run.metrics, run.corpus, run.vae, 60))
    finally:
        config.encoder, config.decoder = before
    assert card.data.base_model == ["someone/bert"]


FIRST, SECOND = "a" * 40, "b" * 40


@pytest.fixture
def hub(pair, tmp_path, monkeypatch):
    """The cache of the Hub with two repositories at their first commit, and a way to move them to a second one."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def publish(commit):
        for side in ("encoder", "decoder"):
            repository = tmp_path / "hub" / f"models--someone--{side}"
            shutil.copytree(pair / side, repository / "snapshots" / commit)
            (repository / "refs").mkdir(exist_ok=True)
            (repository / "refs" / "main").write_text(commit)

    publish(FIRST)
    return publish


@pytest.mark.parametrize("asked", [None, "main", FIRST])
def test_a_run_goes_on_with_the_commits_that_it_began_with(pair, texts, tmp_path, hub, caplog, asked):
    """A branch may have moved on."""
    names = {side: {"name": f"someone/{side}", "revision": asked} for side in ("encoder", "decoder")}
    recipe = recipe_of(pair, tmp_path, texts, **names)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, callbacks=[Stop()])
    begun = yaml.safe_load((tmp_path / "run" / "textvae.yaml").read_text())
    found = [begun["model"]["encoder"], begun["model"]["decoder"], begun["tokenizer"]]
    assert [section["revision"] for section in found] == [FIRST] * 3
    assert recipe.model["encoder"]["revision"] == asked
    hub(SECOND)
    run = train(recipe, resume=True)
    assert [getattr(run.vae.model.config, side)["revision"] for side in names] == [FIRST] * 2
    assert caplog.text.count(f"goes on with {FIRST}, with which it began") == (2 if asked == "main" else 0)
    card = ModelCard((run.folder / "README.md").read_text())
    assert card.data.base_model == ["someone/encoder", "someone/decoder"]
    other = recipe_of(pair, tmp_path, texts, **{side: values | {"revision": SECOND} for side, values in names.items()})
    with pytest.raises(ValueError, match="--resume: tokenizer and model differ"):
        train(other, resume=True)


def test_a_run_does_not_go_on_with_other_weights(pair, texts, tmp_path):
    """What is trained was trained beside those of before."""
    shutil.copytree(pair / "encoder", tmp_path / "encoder")
    recipe = recipe_of(pair, tmp_path, texts, encoder={"name": str(tmp_path / "encoder"), "save_base": False})
    with pytest.raises(KeyboardInterrupt):
        train(recipe, callbacks=[Stop()])
    other = AutoModel.from_pretrained(tmp_path / "encoder")
    with torch.no_grad():
        other.get_input_embeddings().weight[-1, -1] += 1  # as far behind as can be
    other.save_pretrained(tmp_path / "encoder")
    with pytest.raises(ValueError, match=r"model\.encoder\.name: .*/encoder holds other weights than those with which"):
        train(recipe, resume=True)


def test_init_from_a_run_that_rests_on_other_weights(pair, texts, tmp_path):
    shutil.copytree(pair / "encoder", tmp_path / "encoder")
    (tmp_path / "second").mkdir()
    encoder = {"name": str(tmp_path / "encoder"), "save_base": False}
    first = train(recipe_of(pair, tmp_path, texts, encoder=encoder))
    AutoModel.from_config(weights.configuration(first.vae.model.encoder.architecture)).save_pretrained(encoder["name"])
    recipe = recipe_of(pair, tmp_path / "second", texts, encoder=encoder)
    recipe.training |= {"init_from": str(first.folder)}
    with pytest.raises(ValueError, match=r"training\.init_from: .* rests on other weights of its encoder than"):
        train(recipe)


def test_an_encoder_without_what_it_pools_for_a_task(pair, texts, tmp_path):
    """As RoBERTa comes: those weights are random each time, and nobody reads them."""
    AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(pair / "encoder")).save_pretrained(tmp_path / "encoder")
    AutoTokenizer.from_pretrained(pair / "encoder").save_pretrained(tmp_path / "encoder")
    run = train(recipe_of(pair, tmp_path, texts, encoder={"name": str(tmp_path / "encoder"), "save_base": False}))
    torch.testing.assert_close(TextVAE.from_pretrained(run.folder).encode(texts[:5]), run.vae.encode(texts[:5]))


def test_weights_without_a_softmax_layer_are_refused(pair, texts, tmp_path):
    """They would be random."""
    AutoModel.from_pretrained(pair / "decoder").save_pretrained(tmp_path / "headless")
    AutoTokenizer.from_pretrained(pair / "decoder").save_pretrained(tmp_path / "headless")
    with pytest.raises(ValueError, match=r"model\.decoder\.name: the weights of .*/headless lack lm_head\.weight"):
        train(recipe_of(pair, tmp_path, texts, decoder={"name": str(tmp_path / "headless")}))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("token", ["[PAD]", "dog"])
def test_a_tokenizer_with_more_words_than_its_encoder(pair, texts, tmp_path, token):
    """Padding is masked; a word needs a vector."""
    tokenizer = AutoTokenizer.from_pretrained(pair / "encoder")
    size = len(tokenizer)
    vocabulary = {word: i for word, i in tokenizer.get_vocab().items() if word != token}
    vocabulary = {word: i for i, word in enumerate(sorted(vocabulary, key=vocabulary.get))} | {token: size - 1}
    config = AutoConfig.from_pretrained(pair / "encoder")
    config.vocab_size, config.pad_token_id = size - 1, 0
    AutoModel.from_config(config).save_pretrained(tmp_path / "small")
    BertTokenizer(vocab=vocabulary).save_pretrained(tmp_path / "small")
    recipe = recipe_of(pair, tmp_path, texts, encoder={"name": str(tmp_path / "small")})
    if token == "[PAD]":
        assert train(recipe).vae.model.config.encoder_pad_token_id == 0
    else:
        with pytest.raises(ValueError, match=rf"its tokenizer has ids up to {size - 1}, but the model only"):
            train(recipe)


def test_no_code_of_others_is_asked_for(pair, texts, tmp_path, monkeypatch):
    """A configuration may point to code; nobody is asked whether to run it."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    config = tmp_path / "decoder" / "config.json"
    shutil.copytree(pair / "decoder", config.parent)
    values = json.loads(config.read_text()) | {"auto_map": {"AutoModelForCausalLM": "someone/else--modeling.Model"}}
    config.write_text(json.dumps(values))
    run = train(recipe_of(pair, tmp_path, texts, decoder={"name": str(config.parent)}))
    assert "auto_map" not in run.vae.model.config.decoder["architecture"]


@pytest.mark.parametrize(
    ("name", "trained"),
    [("llama", "lora"), ("gpt2", "lora"), ("gpt2", "none"), ("t5", "none"), ("bart", "none")]
    + [(name, trained) for name in UNTIED for trained in ("all", "none", "lora")],
)
def test_training_begins_with_the_pretrained_model(pair, texts, tmp_path, name, trained):
    """Low-rank additions add nothing yet, and special tokens that the vocabulary has grown by are unlikely.

    And what a checkpoint holds apart stays apart, whatever its architecture ties.
    """
    if trained == "lora":
        pytest.importorskip("peft", reason="the extra lora is not installed")
    kind = {"kind": "seq2seq"} if name in SEQ2SEQ else {}
    recipe = recipe_of(pair, tmp_path, texts, decoder={"name": str(pair / name), "train": trained} | kind)
    tokenizer = make_tokenizer(recipe.tokenizer, [])
    model = build_model(recipe, tokenizer, load_tokenizer(str(pair / "encoder"), None, "model.encoder.name")).eval()
    load_pretrained(model)
    loader = AutoModelForSeq2SeqLM if kind else AutoModelForCausalLM
    base = loader.from_pretrained(pair / name).eval()
    apart = base.get_output_embeddings().weight is not base.get_input_embeddings().weight
    assert apart == (name in UNTIED)
    known = base.get_input_embeddings().num_embeddings
    ids = torch.randint(known, (3, 9), generator=torch.Generator().manual_seed(0))
    states = torch.randn(3, 4, 16, generator=torch.Generator().manual_seed(1))
    inputs = {"input_ids": ids}
    if kind:
        inputs = {"decoder_input_ids": ids, "encoder_outputs": BaseModelOutput(last_hidden_state=states)}
    with torch.no_grad():
        ours, theirs = model.decoder.backbone(**inputs).logits, base(**inputs).logits
    assert ours.shape[-1] == len(tokenizer) > known
    torch.testing.assert_close(ours[..., :known], theirs)
    # A word whose vector is the mean of all has at most the mean of their probabilities (Jensen).
    assert (ours.softmax(-1)[..., known:] <= 1 / known).all()


def test_words_first_with_spare_rows_in_the_softmax(pair, texts, tmp_path):
    """Pretrained models may have more word vectors than their tokenizer has words."""
    config = weights.configuration(DECODERS["llama"] | {"vocab_size": 400})
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "spare")
    AutoTokenizer.from_pretrained(pair / "llama").save_pretrained(tmp_path / "spare")
    recipe = recipe_of(
        pair, tmp_path, texts, decoder={"name": str(tmp_path / "spare"), "inject": ["embedding", "output"]}
    )
    del recipe.training["max_steps"]
    recipe.training["stages"] = [{"predicts": "words", "max_steps": 2}, {"max_steps": 2}]
    run = train(recipe)
    assert len(run.vae.tokenizer) < 400 == len(run.vae.model.decoder.softmax_weight)
    assert run.metrics["nll"] > 0


def test_text_without_the_backbone_first(pair, texts, tmp_path):
    """What is beside the pretrained models learns to tell text from z, in the words of the corpus; they wait."""
    writer = {"inject": ["embedding"], "beside": {"embedding_size": 8, "hidden_size": 12}}
    reader = {"beside": {"embedding_size": 8, "share_embeddings": True, "hidden_size": 6, "word_sum": True}}
    recipe = recipe_of(pair, tmp_path, texts, decoder=writer, encoder=reader)
    del recipe.training["max_steps"]
    first = {"predicts": "text_without_backbone", "max_steps": 60, "learning_rate": 1e-2, "objective": {"beta": 0.01}}
    recipe.training["stages"] = [first, {"max_steps": 3}]
    run = train(recipe)
    history = [json.loads(line) for line in (run.folder / "logs" / "history.jsonl").read_text().splitlines()]
    before = [row["eval_distortion"] for row in history if "eval_distortion" in row and row["stage"] == 1]
    assert before[-1] < before[0] - 2
    left = load_file(run.folder / "checkpoints" / "stage-1" / "model.safetensors")
    base = AutoModelForCausalLM.from_pretrained(pair / "decoder").state_dict()
    for name, weight in base.items():
        assert torch.equal(left[f"decoder.backbone.{name}"][: len(weight)], weight), name
    assert not torch.equal(
        left["decoder.beside.layers.0.weight_hh_l0"], run.vae.model.decoder.beside.layers[0].weight_hh_l0
    )
    first = left["decoder.beside.embedding.first"]
    expected = AnchoredEmbedding(*first.shape)
    expected.begin_from(left["decoder.backbone.model.embed_tokens.weight"][: len(first)])
    torch.testing.assert_close(first / first.norm(), expected.first / expected.first.norm(), rtol=1e-3, atol=1e-5)
    assert run.vae.model.decoder.alone is None
    model, split = run.vae.model, run.splits["validation"]
    with predicting("text_without_backbone", model, run.splits["train"]):
        bound = evaluate_bound(model, split, bf16=False)
    last = [row["eval_distortion"] for row in history if "eval_distortion" in row and row["stage"] == 2]
    assert float(bound.distortion.mean()) != pytest.approx(last[-1], rel=1e-3)
    loaded = TextVAE.from_pretrained(run.folder)
    # What a fixed encoder makes of a text comes from the cache in evaluation, and is computed in `encode`.
    torch.testing.assert_close(loaded.encode(split["text"][:]), evaluate_bound(model, split, bf16=False).mu)
    assert loaded.reconstruct(texts[:5]) == run.vae.reconstruct(texts[:5])


def test_the_language_model_beside_it_has_the_same_stages(pair, texts, tmp_path):
    """Or it would have had a part of the updates, and what is beside its backbone next to none."""
    writer = {"inject": ["embedding"], "beside": {"embedding_size": 8, "hidden_size": 12}}
    recipe = recipe_of(pair, tmp_path, texts, decoder=writer)
    del recipe.training["max_steps"]
    recipe.model["latent"]["size"] = 0
    recipe.training["stages"] = [{"predicts": "text_without_backbone", "max_steps": 5}, {"max_steps": 3}]
    run = train(recipe)
    history = [json.loads(line) for line in (run.folder / "logs" / "history.jsonl").read_text().splitlines()]
    assert max(row["step"] for row in history) == 8
    left = load_file(run.folder / "checkpoints" / "stage-1" / "model.safetensors")
    base = AutoModelForCausalLM.from_pretrained(pair / "decoder").state_dict()
    for name, weight in base.items():
        assert torch.equal(left[f"decoder.backbone.{name}"][: len(weight)], weight), name
    assert run.vae.model.decoder.alone is None


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_what_is_anchored_stays_near_where_it_was(pair, texts, tmp_path, side):
    """The encoder in aggressive training, in which it has steps of its own."""

    def moved(decay):
        (tmp_path / str(decay)).mkdir()
        recipe = recipe_of(pair, tmp_path / str(decay), texts, **{side: {"train": "all"}})
        recipe.training |= {"pretrained_weight_decay": decay, "learning_rate": 1e-2, "lr_scheduler_type": "constant"}
        recipe.training["aggressive"] = side == "encoder"
        run = train(recipe)
        loader = AutoModel if side == "encoder" else AutoModelForCausalLM
        base = loader.from_pretrained(pair / side).state_dict()
        ours = getattr(run.vae.model, side).backbone.state_dict()
        base = {name: weight for name, weight in base.items() if name in ours}
        assert len(base) > 5
        return sum(float((ours[name][: len(weight)] - weight).square().sum()) for name, weight in base.items())

    free, held, fixed = moved(0.0), moved(50.0), moved(100.0)
    assert 0 == fixed < held < 0.7 * free


def test_what_the_encoder_does_not_read_is_told(pair, texts):
    """The last token that it reads ends the text."""
    tokenizer = make_tokenizer(TokenizerConfig(kind="char"), texts)
    encoder_tokenizer = load_tokenizer(str(pair / "encoder"), None, "model.encoder.name")
    corpus = Corpus(DatasetDict(train=Dataset.from_dict({"text": ["the dog", "the dog sees", "the dog sees the cat"]})))
    encode_corpus(corpus, tokenizer, None, "truncate", encoder_tokenizer)
    assert corpus.notices == []
    encoder_tokenizer.model_max_length = 5
    rows = encode_corpus(corpus, tokenizer, None, "truncate", encoder_tokenizer)["train"]
    assert [len(ids) for ids in rows["encoder_ids"][:]] == [4, 5, 5]
    assert {ids[-1] for ids in rows["encoder_ids"][:]} == {encoder_tokenizer.sep_token_id}
    assert corpus.notices == ["train: 2 texts reach the encoder's limit of 5 tokens; it reads no more of them"]


def test_an_encoder_whose_tokenizer_ends_no_text_reads_a_beginning(pair, texts):
    """The last piece of a long text is no end: nothing is put behind the cut."""
    tokenizer = make_tokenizer(TokenizerConfig(kind="char"), texts)
    encoder_tokenizer = load_tokenizer(str(pair / "llama"), None, "model.encoder.name")
    corpus = Corpus(DatasetDict(train=Dataset.from_dict({"text": ["the dog sees the cat"]})))
    whole = encoder_tokenizer("the dog sees the cat")["input_ids"]
    assert len(whole) > 4
    encoder_tokenizer.model_max_length = 4
    rows = encode_corpus(corpus, tokenizer, None, "truncate", encoder_tokenizer)["train"]
    assert rows["encoder_ids"][0] == whole[:4]


def test_the_encoders_ids_are_asked_for(run, texts):
    ids = torch.tensor([run.vae.tokenizer(texts[0])["input_ids"]])
    with pytest.raises(ValueError, match="encoder_input_ids are missing"):
        run.vae.model(ids)


@pytest.mark.parametrize("error", [TypeError("a size is None"), NotImplementedError("not yet"), AssertionError()])
def test_a_model_that_cannot_be_built_is_one_line(pair, texts, tmp_path, monkeypatch, error):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(AutoModelForCausalLM, "from_config", fails)
    with pytest.raises(ValueError, match=r"model\.decoder\.name: .* is of no supported family") as raised:
        train(recipe_of(pair, tmp_path, texts))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_a_model_that_takes_no_low_rank_additions_is_one_line(pair, texts, tmp_path, monkeypatch):
    peft = pytest.importorskip("peft", reason="the extra lora is not installed")

    def fails(*_, **__):
        raise ValueError("no layer of a kind that it knows")

    monkeypatch.setattr(peft, "inject_adapter_in_model", fails)
    with pytest.raises(ValueError, match=r"^model\.decoder\.train: no lora for this model: no layer of .*; take all"):
        train(recipe_of(pair, tmp_path, texts, decoder={"train": "lora"}))


def test_a_folder_with_a_gguf_file(tmp_path):
    (tmp_path / "model.gguf").touch()
    found = weights.locate(str(tmp_path), None, "model.decoder.name")
    assert found == {"pretrained_model_name_or_path": str(tmp_path), "gguf_file": "model.gguf"}
    (tmp_path / "config.json").write_text("{}")
    assert weights.locate(str(tmp_path), None, "x") == {"pretrained_model_name_or_path": str(tmp_path)}


def test_lora(pair, texts, tmp_path):
    """Only what is added moves, and it is there after loading."""
    pytest.importorskip("peft", reason="the extra lora is not installed")
    run = train(recipe_of(pair, tmp_path, texts, decoder={"train": "lora", "lora_rank": 2, "save_base": False}))
    base = AutoModelForCausalLM.from_pretrained(pair / "decoder").state_dict()
    ours = run.vae.model.decoder.backbone.state_dict()
    for name, weight in base.items():
        wrapped = name.replace(".weight", ".base_layer.weight")
        assert torch.equal(ours.get(wrapped, ours.get(name))[: len(weight)], weight), name
    assert all(ours[name].any() for name in ours if "lora_B" in name)
    assert TextVAE.from_pretrained(run.folder).reconstruct(texts[:5]) == run.vae.reconstruct(texts[:5])


@pytest.mark.parametrize(
    ("side", "values", "message"),
    [
        (
            "encoder",
            {"name": "package:no-such-package"},
            r"model\.encoder\.name: the Python package no-such-package is not",
        ),
        ("encoder", {"name": "package:no.such"}, r"model\.encoder\.name: the Python package no\.such is not"),
        ("decoder", {"name": "package:json"}, r"model\.decoder\.name: the Python package json carries no model"),
        ("decoder", {"name": "/no/such/folder"}, r"model\.decoder\.name: cannot load /no/such/folder"),
    ],
)
def test_a_missing_model_is_one_line(pair, texts, tmp_path, side, values, message):
    with pytest.raises(ValueError, match=message) as error:
        train(recipe_of(pair, tmp_path, texts, **{side: values}))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_pretrained_weights_learn_at_a_rate_of_their_own(pair, texts, tmp_path):
    """Those of the encoder hardly move, what is new does; the log tells the rate of the latter."""
    recipe = recipe_of(pair, tmp_path, texts, encoder={"train": "all"}, decoder={"train": "none"})
    training = {"pretrained_learning_rate": 1e-9, "learning_rate": 1e-2, "weight_decay": 0.0, "logging_steps": 1}
    run = train(dataclasses.replace(recipe, training=recipe.training | training))
    theirs = AutoModel.from_pretrained(pair / "encoder").state_dict()
    ours = run.vae.model.encoder.backbone.state_dict()
    moved = max(float((ours[name] - theirs[name]).abs().max()) for name in theirs)
    assert 0 < moved < 1e-7
    assert run.vae.model.posterior.mu.bias.abs().min() > 1e-3
    history = [json.loads(line) for line in (run.folder / "logs" / "history.jsonl").read_text().splitlines()]
    assert max(row.get("learning_rate", 0) for row in history) == 1e-2


def test_additions_of_low_rank_are_new(pair, texts, tmp_path):
    pytest.importorskip("peft", reason="the extra lora is not installed")
    recipe = recipe_of(pair, tmp_path, texts, encoder={"train": "all"}, decoder={"train": "lora", "lora_rank": 2})
    training = {"pretrained_learning_rate": 1e-9, "learning_rate": 1e-2}
    run = train(dataclasses.replace(recipe, training=recipe.training | training))
    additions = {n: p for n, p in run.vae.model.decoder.backbone.named_parameters() if "lora_B" in n}
    assert additions
    assert all(p.abs().max() > 1e-3 for p in additions.values())


# ---- Families ----


@pytest.mark.parametrize("train_what", ["all", "none"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "t5", "bart", *UNTIED])
def test_a_run_of_each_family(pair, texts, tmp_path, family, train_what):
    """From its folder to a run that is loaded again, whether vocabulary and softmax layer are one tensor or two."""
    kind = {"kind": "seq2seq"} if family in SEQ2SEQ else {"inject": ["memory", "prefix", "embedding", "output"]}
    recipe = recipe_of(pair, tmp_path, texts, decoder={"name": str(pair / family), "train": train_what} | kind)
    run = train(recipe)
    again = TextVAE.from_pretrained(run.folder)
    assert again.reconstruct(texts[:5]) == run.vae.reconstruct(texts[:5])
    for name, value in run.vae.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    beams = {"num_beams": 3, "num_return_sequences": 2, "do_sample": False, "max_new_tokens": 6}
    z = run.vae.encode(texts[:3])
    assert again.decode(z, **beams) == run.vae.decode(z, **beams)
    assert len(again.decode(z, **beams)) == 6
    sampled = {"do_sample": True, "top_p": 0.9, "num_return_sequences": 2, "max_new_tokens": 6, "seed": 1}
    assert again.decode(z, **sampled) == run.vae.decode(z, **sampled)


@pytest.mark.parametrize(("family", "why"), [("bert", "it reads"), ("granite", "its logits"), ("mamba", "")])
def test_a_family_that_cannot_be_a_decoder_here_is_refused(pair, texts, tmp_path, family, why):
    recipe = recipe_of(pair, tmp_path, texts, decoder={"name": str(pair / family), "inject": ["prefix"]})
    with pytest.raises(
        ValueError, match=rf"model\.decoder\.name: .* of the family {family}.*not supported: {why}"
    ) as error:
        train(recipe)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("family", "pooling", "message"),
    [
        ("fnet", "mean", r"model\.encoder\.name: .* of the family fnet, .*: padding changes what it makes of a text"),
        ("clip", "mean", r"model\.encoder\.name: .* of the family clip, which is not supported: "),
        ("causal", "first", r"model\.encoder\.pooling: first takes a state of .* take last, mean or attention"),
    ],
)
def test_a_family_that_cannot_be_an_encoder_here_is_refused(pair, texts, tmp_path, family, pooling, message):
    with pytest.raises(ValueError, match=message) as error:
        train(recipe_of(pair, tmp_path, texts, encoder={"name": str(pair / family), "pooling": pooling}))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_texts_that_are_too_long(pair, texts, tmp_path, side):
    """An encoder reads as much as it can; a decoder has to read all."""
    longer = [*texts, *(" ".join([text] * 12) for text in texts[:12])]
    if side == "encoder":
        run = train(recipe_of(pair, tmp_path, longer, decoder={"name": str(pair / "t5"), "kind": "seq2seq"}))
        assert max(len(ids) for split in run.splits.values() for ids in split["encoder_ids"]) == 64
    else:
        with pytest.raises(ValueError, match=r"model\.decoder: it reads at most 64 tokens, and a \w+ text has \d+"):
            train(recipe_of(pair, tmp_path, longer, decoder={"name": str(pair / "gpt2")}))
        assert not (tmp_path / "run").exists()


class Stop(TrainerCallback):
    """Ends training after three steps."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 3:
            raise KeyboardInterrupt


@pytest.mark.parametrize("save_base", [True, False])
def test_resuming_has_the_pretrained_weights(pair, texts, tmp_path, run, save_base):
    """A checkpoint may lack what is not trained, and what a frozen encoder makes of the texts is computed before it."""
    recipe = recipe_of(pair, tmp_path, texts, encoder={"save_base": save_base})
    with pytest.raises(KeyboardInterrupt):
        train(recipe, callbacks=[Stop()])
    resumed = train(recipe, resume=True)
    for (name, a), b in zip(run.vae.model.state_dict().items(), resumed.vae.model.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=name)


def test_resuming_holds_on_to_what_a_stage_began_with(pair, texts, tmp_path):
    """Pretrained weights that a stage resets are drawn back to those, not to where the stage before left them."""

    class StopInLast(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 3 and not args.output_dir.endswith("stage-1"):
                raise KeyboardInterrupt

    def recipe(name):
        (tmp_path / name).mkdir(exist_ok=True)
        made = recipe_of(pair, tmp_path / name, texts, decoder={"train": "all"})
        del made.training["max_steps"]
        made.training |= {"pretrained_weight_decay": 50.0, "learning_rate": 1e-2, "lr_scheduler_type": "constant"}
        made.training["stages"] = [{"max_steps": 3}, {"max_steps": 4, "reset": ["decoder"]}]
        return made

    whole = train(recipe("whole"))
    with pytest.raises(KeyboardInterrupt):
        train(recipe("broken"), callbacks=[StopInLast()])
    resumed = train(recipe("broken"), resume=True)
    for (name, a), b in zip(whole.vae.model.state_dict().items(), resumed.vae.model.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=name)


def test_init_from_a_run_without_the_base_weights(pair, texts, tmp_path):
    (tmp_path / "second").mkdir()
    first = train(recipe_of(pair, tmp_path, texts, encoder={"save_base": False}))
    recipe = recipe_of(pair, tmp_path / "second", texts, encoder={"save_base": False})
    recipe.training |= {"init_from": str(first.folder), "learning_rate": 1e-30}
    second = train(recipe)
    torch.testing.assert_close(second.vae.encode(texts[:5]), first.vae.encode(texts[:5]))


# ---- What a frozen encoder makes of a text is computed once ----


def test_summaries_of_a_frozen_encoder(run):
    """They are the encoder's, text by text, and stand beside training and validation texts alone."""
    model = run.vae.model
    for name in ("train", "validation"):
        rows = run.splits[name][:12]
        assert "summary" in rows
        for ids, summary in zip(rows["encoder_ids"], rows["summary"], strict=True):
            with torch.no_grad():
                alone = model.encoder(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long))[0]
            torch.testing.assert_close(torch.tensor(summary), alone, rtol=1e-5, atol=1e-5)
    assert "summary" not in run.splits["test"].column_names


def test_training_does_not_run_a_frozen_encoder_again(pair, texts, tmp_path, monkeypatch):
    passes = []
    forward = PretrainedEncoder.forward

    def counted(self, ids, mask, word_vectors=None):
        passes.append(self.training)
        return forward(self, ids, mask, word_vectors)

    monkeypatch.setattr(PretrainedEncoder, "forward", counted)
    train(recipe_of(pair, tmp_path, texts))
    assert passes
    assert not any(passes)


def test_another_run_reads_them_from_disk(pair, texts, tmp_path, run, monkeypatch):
    """Whatever is beside the encoder, and whatever seed what is new begins with."""
    bare = tmp_path / "encoder"
    shutil.copytree(pair / "encoder", bare)
    saved = load_file(bare / "model.safetensors")  # without what pools for a task, as many encoders come
    save_file({name: weight for name, weight in saved.items() if "pooler" not in name}, bare / "model.safetensors")

    recipe = recipe_of(pair, tmp_path, texts, encoder={"name": str(bare)})

    def again(seed, **encoder):
        model = recipe.model | {"encoder": recipe.model["encoder"] | encoder}
        training, folder = recipe.training | {"seed": seed}, tmp_path / str(seed)
        return train(dataclasses.replace(recipe, model=model, training=training, output_dir=folder))

    first = again(1)
    monkeypatch.setattr("textvae.training.features.length_sorted_batches", lambda *_: pytest.fail("encoded again"))
    second = again(2, beside={"embedding_size": 8, "hidden_size": 6})
    assert first.splits["train"]["summary"][:5] == second.splits["train"]["summary"][:5]


def test_training_with_and_without_kept_summaries_is_the_same(pair, texts, tmp_path, monkeypatch, run):
    monkeypatch.setattr("textvae.training.run.with_summaries", lambda splits, *_: splits)
    without = train(recipe_of(pair, tmp_path, texts))
    assert "summary" not in without.splits["train"].column_names
    for (name, a), b in zip(run.vae.model.state_dict().items(), without.vae.model.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("encoder", [{"train": "all"}, {"pooling": "attention"}])
def test_an_encoder_that_is_trained_has_no_summaries_to_keep(pair, texts, tmp_path, encoder):
    run = train(recipe_of(pair, tmp_path, texts, encoder=encoder))
    assert "summary" not in run.splits["train"].column_names


def test_other_weights_are_other_summaries(run):
    """The cache must not give one encoder's numbers for another's."""
    columns = ["ids", "length", "text", "encoder_ids"]
    plain = {name: split.select_columns(columns) for name, split in run.splits.items()}
    model = run.vae.model
    first = with_summaries(DatasetDict(plain), model, model.device, False)["train"]["summary"][:3]
    weight = model.encoder.backbone.get_input_embeddings().weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(1.5)
    second = with_summaries(DatasetDict(plain), model, model.device, False)["train"]["summary"][:3]
    with torch.no_grad():
        weight.copy_(before)
    assert not torch.allclose(torch.tensor(first), torch.tensor(second), atol=1e-3)


# ---- Gradient checkpointing ----


@pytest.mark.parametrize("decoder_train", ["all", "none"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "t5", "bart"])
def test_checkpointing_gives_the_same_gradients(pair, texts, tmp_path, family, decoder_train):
    """And a frozen decoder has no dropout, though its layers are in training then."""
    kind = {"kind": "seq2seq"} if family in SEQ2SEQ else {"inject": ["prefix", "embedding"]}
    decoder = {"name": str(pair / family), "train": decoder_train} | kind
    recipe = recipe_of(pair, tmp_path, texts, encoder={"train": "all"}, decoder=decoder)
    run = train(recipe)
    model, rows = run.vae.model, run.splits["train"].select(range(6))
    model.encoder.backbone.config.hidden_dropout_prob = 0.0
    batch = Collator.of(model.config)([rows[i] for i in range(6)])

    def gradients():
        model.zero_grad()
        model.train()
        trained = model.encoder if decoder_train == "none" else model
        for module in trained.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            for name in ("dropout", "activation_dropout", "attention_dropout"):  # BART's
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, 0.0)
        output = model(**batch, generator=torch.Generator().manual_seed(0))
        (output.distortion.mean() + output.rate.mean()).backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    plain = gradients()
    model.activation_checkpointing_enable()
    checkpointed = gradients()
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert bool(frozen) == (decoder_train == "none")
    held = [m for m in model.decoder.backbone.modules() if isinstance(m, GradientCheckpointingLayer)]
    assert len(held) == 2
    assert all(module.gradient_checkpointing and module.training for module in held)
    model.eval()
    assert not any(module.training for module in held)


def test_checkpointing_is_refused_with_memory_and_without_a_pretrained_part(pair, texts, tmp_path):
    recipe = recipe_of(pair, tmp_path, texts, decoder={"inject": ["memory"]})
    recipe.training["activation_checkpointing"] = True
    with pytest.raises(ValueError, match=r"training\.activation_checkpointing: .*memory; take inject") as error:
        train(recipe)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_training_with_checkpointing_and_batches_by_tokens(pair, texts, tmp_path):
    recipe = recipe_of(pair, tmp_path, texts, decoder={"inject": ["prefix"]})
    recipe.training |= {"activation_checkpointing": True, "tokens_per_batch": 120}
    run = train(recipe)
    assert run.metrics["nll"] > 0
    resumed = train(recipe, resume=True)
    assert resumed.metrics["nll"] == pytest.approx(run.metrics["nll"])


def test_noise_reaches_a_frozen_encoder(pair, texts, tmp_path, monkeypatch):
    """What it makes of the texts as they are is not kept then: batches would bring it in place of the noise."""
    passes, forward = [], PretrainedEncoder.forward

    def counted(self, ids, mask, word_vectors=None):
        passes.append(self.training)
        return forward(self, ids, mask, word_vectors)

    monkeypatch.setattr(PretrainedEncoder, "forward", counted)
    recipe = recipe_of(pair, tmp_path, texts)
    data = recipe.data.model_copy(update={"noise": NoiseConfig(drop=0.5)})
    run = train(dataclasses.replace(recipe, data=data))
    assert "summary" not in run.splits["train"].column_names
    assert any(passes)


def test_another_pooling_or_precision_is_other_summaries(run, monkeypatch):
    columns = ["ids", "length", "text", "encoder_ids"]
    plain = {name: split.select_columns(columns) for name, split in run.splits.items()}
    model = run.vae.model

    def summaries(bf16=False):
        return torch.tensor(with_summaries(DatasetDict(plain), model, model.device, bf16)["train"]["summary"][:3])

    first, rounded = summaries(), summaries(bf16=True)
    monkeypatch.setattr(model.encoder.pooling, "kind", "max")
    monkeypatch.setitem(model.config.encoder, "pooling", "max")
    assert not torch.equal(first, rounded)
    assert not torch.allclose(first, summaries(), atol=1e-3)


def test_what_is_anchored_has_no_decay_to_zero_and_goes_back_at_its_own_rate(pair, texts, tmp_path):
    decays = set()

    class Look(TrainerCallback):
        def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
            own = {id(weight) for weight in model.decoder.pretrained_weights()}
            groups = optimizer.param_groups
            decays.update(group["weight_decay"] for group in groups for p in group["params"] if id(p) in own)

    recipe = recipe_of(pair, tmp_path, texts, decoder={"train": "all"})
    recipe.training |= {"pretrained_weight_decay": 100.0, "weight_decay": 0.1, "lr_scheduler_type": "constant"}
    recipe.training |= {"pretrained_learning_rate": 1e-2, "learning_rate": 1e-4}
    run = train(recipe, callbacks=[Look()])
    assert decays == {0.0}
    ours = run.vae.model.decoder.backbone.state_dict()
    for name, weight in AutoModelForCausalLM.from_pretrained(pair / "decoder").state_dict().items():
        torch.testing.assert_close(ours[name][: len(weight)], weight, msg=name)  # 1e-2 * 100: all the way back
