"""Where pretrained weights come from: an installed package, as files of transformers or as GGUF, without a network."""

import importlib
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from tests.pretrained import DECODERS, make_pair, recipe_of
from textvae import weights


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Makes an importable package of a name, and gives its folder."""

    def make(name):
        folder = tmp_path / "site" / name.replace("-", "_")
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text('raise RuntimeError("a package is found, and not imported")\n')
        monkeypatch.syspath_prepend(tmp_path / "site")
        importlib.invalidate_caches()
        return folder

    return make


@pytest.fixture(scope="module")
def pair(tmp_path_factory, texts):
    return make_pair(tmp_path_factory.mktemp("pretrained"), texts)


def write_gguf(model, tokenizer, file):
    """A Qwen 2 and its byte-level tokenizer as GGUF."""
    gguf = pytest.importorskip("gguf", reason="the extra gguf is not installed")
    config, writer = model.config, gguf.GGUFWriter(file, "qwen2")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    parts = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(parts["vocab"], key=parts["vocab"].get))
    writer.add_token_merges([" ".join(pair) for pair in parts["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_bos_token_id(tokenizer.bos_token_id)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_package_with_files_of_transformers(installed, pair):
    shutil.copytree(pair / "encoder", installed("tiny-bert") / "files" / "model")
    values, name = weights.architecture("package:tiny-bert", None, "x")
    assert (values["model_type"], name) == ("bert", "package:tiny-bert")
    ours = weights.load(AutoModel, "package:tiny-bert", None, "x").state_dict()
    theirs = AutoModel.from_pretrained(pair / "encoder").state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_package_with_gguf(installed, pair):
    tokenizer = AutoTokenizer.from_pretrained(pair / "decoder")
    architecture = DECODERS["qwen2"] | {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64}
    model = AutoModelForCausalLM.from_config(weights.configuration(architecture))
    write_gguf(model, tokenizer, installed("tiny-qwen") / "model.gguf")
    values, _ = weights.architecture("package:tiny-qwen", None, "x")
    again, told = weights.load(AutoModelForCausalLM, "package:tiny-qwen", None, "x", output_loading_info=True)
    again = again.state_dict()
    assert not told["missing_keys"]
    assert values["model_type"] == "qwen2"
    assert again.keys() == model.state_dict().keys()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(again[name].float(), weight, rtol=1e-3, atol=1e-4)
    text = "the old dog sees the cat"
    found = weights.load(AutoTokenizer, "package:tiny-qwen", None, "x")
    assert found(text)["input_ids"] == tokenizer(text)["input_ids"]


# Every way to the network ends the process. It has no word that it is offline.
WITHOUT_NETWORK = """
import os, socket, sys

def refuse(*address, **_):
    print("asked for", address, file=sys.stderr)
    os._exit(7)

socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
from textvae import TextVAE, load_recipe, train

run = train(load_recipe(sys.argv[1], [f"output_dir={sys.argv[2]}"]))
TextVAE.from_pretrained(run.folder).reconstruct(["the old dog"])
"""


@pytest.mark.parametrize("place", ["package", "folder"])
def test_nothing_is_asked_of_the_network(installed, pair, texts, tmp_path, place):
    """Training, and loading a run that left its weights where they were."""
    names = [str(pair / "encoder"), str(pair / "decoder")]
    if place == "package":
        names = ["package:tiny-bert", "package:tiny-llama"]
        shutil.copytree(pair / "encoder", installed("tiny-bert") / "files")
        shutil.copytree(pair / "decoder", installed("tiny-llama") / "files")
    encoder = {"name": names[0], "save_base": False}
    decoder = {"name": names[1], "train": "last", "last_layers": 1, "save_base": False}
    recipe = recipe_of(pair, tmp_path, texts, encoder=encoder, decoder=decoder)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path / "site"), *sys.path])
    command = [sys.executable, "-c", WITHOUT_NETWORK, str(tmp_path / "recipe.yaml"), str(tmp_path / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    assert (tmp_path / "run" / "metrics.json").is_file()
