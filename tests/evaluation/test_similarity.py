"""MAUVE: its features, and a clear word where the package is missing."""

import random
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModel, BertConfig, BertModel, PreTrainedTokenizerFast

from tests.pretrained import DECODERS, SEQ2SEQ
from textvae import evaluate_run, weights
from textvae.evaluation.run import Extras
from textvae.evaluation.similarity import mauve, sentence_features


@pytest.fixture(scope="module")
def encoder(texts, tmp_path_factory):
    """A small BERT of the corpus's words, untrained."""
    words = sorted({word for text in texts for word in text.split()})
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["[PAD]", "[UNK]", *words])}, "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    folder = tmp_path_factory.mktemp("bert")
    BertModel(BertConfig(vocab_size=len(words) + 2, **size)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_features_do_not_depend_on_the_batch(encoder, texts):
    some = [texts[0], "the cat", *texts[1:70]]
    together = sentence_features(some, encoder)
    alone = torch.cat([sentence_features([text], encoder) for text in some[:4]])
    assert together.shape == (71, 16)
    torch.testing.assert_close(together[:4], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_features_of_a_model_without_padding_and_of_an_encoder_decoder(encoder, texts, tmp_path, family):
    loader, architecture = {"gpt2": (AutoModel, DECODERS["gpt2"]), "t5": (AutoModel, SEQ2SEQ["t5"])}[family]
    backend = PreTrainedTokenizerFast.from_pretrained(encoder).backend_tokenizer
    loader.from_config(weights.configuration(architecture | {"vocab_size": 300})).save_pretrained(tmp_path)
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", eos_token="[UNK]").save_pretrained(tmp_path)
    some = [texts[0], "", "the cat"]  # a sample may be empty
    together = sentence_features(some, str(tmp_path))
    assert together.isfinite().all()
    for row in (0, 2):
        alone = sentence_features([some[row]], str(tmp_path))[0]
        torch.testing.assert_close(together[row], alone, rtol=1e-4, atol=1e-5)


def test_a_missing_package_is_one_line(trained, encoder, monkeypatch):
    monkeypatch.setitem(sys.modules, "mauve", None)
    with pytest.raises(ImportError, match=r"--mauve needs mauve-text, which is GPL-3: pip install mauve-text"):
        evaluate_run(trained.folder, "test", 1, extras=Extras(mauve=encoder))


def test_an_encoder_that_is_none(tmp_path):
    with pytest.raises(ValueError, match=r"--mauve: cannot load .*nothing"):
        sentence_features(["a"], str(tmp_path / "nothing"))


def test_what_mauve_is_given(encoder, texts, monkeypatch):
    """Features of the texts as p, of the samples as q, and the seed; without the package itself."""
    asked = {}

    def compute_mauve(**arguments):
        asked.update(arguments)
        return SimpleNamespace(mauve=torch.tensor(0.25))

    monkeypatch.setitem(sys.modules, "mauve", SimpleNamespace(compute_mauve=compute_mauve))
    assert mauve(texts[:9], lambda: texts[9:20], encoder, seed=3) == 0.25
    assert (asked["seed"], asked["verbose"]) == (3, False)
    for name, part in (("p_features", texts[:9]), ("q_features", texts[9:20])):
        torch.testing.assert_close(torch.from_numpy(asked[name]), sentence_features(part, encoder))


def test_nothing_is_sampled_before_all_is_there(texts, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mauve", SimpleNamespace(compute_mauve=None))
    with pytest.raises(ValueError, match="--mauve: cannot load"):
        mauve(texts[:9], lambda: 1 / 0, str(tmp_path))
    monkeypatch.setitem(sys.modules, "mauve", None)
    with pytest.raises(ImportError, match="--mauve needs mauve-text"):
        mauve(texts[:9], lambda: 1 / 0, str(tmp_path))


def test_alike_and_unlike(encoder, texts):
    """Two halves of one corpus are closer than a corpus and one of its texts, again and again."""
    pytest.importorskip("mauve")
    shuffled = random.Random(0).sample(texts, len(texts))
    half = len(texts) // 2
    alike = mauve(shuffled[:half], lambda: shuffled[half:], encoder)
    unlike = mauve(shuffled[:half], lambda: shuffled[:1] * half, encoder)
    assert 0 <= unlike < 0.5 < alike <= 1


def test_an_encoder_in_a_package(encoder, tmp_path, monkeypatch):
    shutil.copytree(encoder, tmp_path / "tiny_bert" / "model")
    (tmp_path / "tiny_bert" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    some = ["the cat", "the dog"]
    assert torch.equal(sentence_features(some, "package:tiny-bert"), sentence_features(some, encoder))
    with pytest.raises(ValueError, match="--mauve: the Python package no-bert is not installed"):
        sentence_features(some, "package:no-bert")
