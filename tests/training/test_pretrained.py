"""A pretrained pair with two tokenizers, from its folders through training to a run that needs neither."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoModel, AutoModelForCausalLM, BertTokenizer, PreTrainedTokenizerFast

from tests.pretrained import DECODERS, ENCODERS
from textvae import TextVAE, train, weights
from textvae.recipe import make_recipe


@pytest.fixture(scope="module")
def pair(tmp_path_factory, texts):
    """Folders of a tiny BERT and a tiny Llama, each with a tokenizer of its own; the Llama's knows no padding."""
    folder = tmp_path_factory.mktemp("pretrained")
    words = sorted({word for text in texts for word in text.split()})
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    encoder_tokenizer = BertTokenizer(vocab=vocabulary)
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=320, special_tokens=["<|end|>"], initial_alphabet=alphabet)
    )
    from tokenizers import decoders

    backend.decoder = decoders.ByteLevel()
    decoder_tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>", bos_token="<|end|>")
    torch.manual_seed(0)
    for name, loader, architecture, tokenizer in (
        ("encoder", AutoModel, ENCODERS["bert"], encoder_tokenizer),
        ("decoder", AutoModelForCausalLM, DECODERS["llama"], decoder_tokenizer),
    ):
        config = weights.configuration(architecture | {"vocab_size": len(tokenizer)})
        loader.from_config(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


def recipe_of(pair, folder, texts, **model):
    (folder / "texts.txt").write_text("\n".join(texts) + "\n")
    parts = {"encoder": {"kind": "pretrained", "name": str(pair / "encoder"), "train": "none"}}
    parts |= {"latent": {"size": 4}, "decoder": {"kind": "pretrained", "name": str(pair / "decoder")}}
    for side, values in model.items():
        parts[side] = parts[side] | values
    training = {"max_steps": 4, "per_device_train_batch_size": 8, "seed": 0, "bf16": False, "eval_steps": 2}
    values = {"data": {"source": str(folder / "texts.txt")}, "model": parts, "training": training | {"save_steps": 2}}
    return make_recipe(values | {"generation": {"max_new_tokens": 12, "do_sample": False}}, [], folder / "run")


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
    assert TextVAE.from_pretrained(run.folder).reconstruct(texts[:5]) == decoded


def test_without_the_base_weights(pair, texts, tmp_path):
    """What is not trained is not saved, and comes from where it came from."""
    decoder = {"save_base": False, "train": "last", "last_layers": 1}
    run = train(recipe_of(pair, tmp_path, texts, encoder={"save_base": False}, decoder=decoder))
    saved = load_file(run.folder / "model.safetensors")
    assert not any(name.startswith("encoder.backbone.") for name in saved)
    assert {name for name in saved if ".layers.0." in name} == set()
    assert any(".layers.1." in name for name in saved)
    # The tokenizer lacked padding and unk: a vocabulary that has grown is saved, though not trained.
    assert "decoder.backbone.model.embed_tokens.weight" in saved
    again = TextVAE.from_pretrained(run.folder)
    torch.testing.assert_close(again.encode(texts[:5]), run.vae.encode(texts[:5]))
    assert again.reconstruct(texts[:5]) == run.vae.reconstruct(texts[:5])


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
        ("decoder", {"name": "package:json"}, r"tokenizer\.path: the Python package json carries no model"),
        ("decoder", {"name": "/no/such/folder"}, r"tokenizer\.path: cannot load /no/such/folder"),
    ],
)
def test_a_missing_model_is_one_line(pair, texts, tmp_path, side, values, message):
    with pytest.raises(ValueError, match=message) as error:
        train(recipe_of(pair, tmp_path, texts, **{side: values}))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()
