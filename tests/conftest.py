"""Small things that tests share: a corpus, a tokenizer, models that fit in a thimble."""

import atexit
import os
import shutil
import tempfile

# On a processor results repeat bit for bit, which many tests ask for, and tensors that tests make lie beside the model.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="textvae-tests-")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

from textvae.configuration import TextVAEConfig
from textvae.modeling import TextVAEModel
from textvae.tokenization import TokenizerConfig, make_tokenizer

torch.set_num_threads(1)
atexit.register(shutil.rmtree, os.environ["HF_DATASETS_CACHE"], ignore_errors=True)

ENCODERS = {
    "gru": {"kind": "recurrent", "cell": "gru", "embedding_size": 12, "hidden_size": 10},
    "lstm2-last": {
        "kind": "recurrent",
        "cell": "lstm",
        "embedding_size": 12,
        "hidden_size": 10,
        "num_layers": 2,
        "pooling": "last",
    },
    "gru-forward-attention": {
        "kind": "recurrent",
        "embedding_size": 12,
        "hidden_size": 10,
        "bidirectional": False,
        "pooling": "attention",
    },
    "gru-sums": {"kind": "recurrent", "embedding_size": 12, "hidden_size": 10, "word_sum": True, "pooling": "rotary"},
    "transformer": {"kind": "transformer", "hidden_size": 16, "num_heads": 2, "dropout": 0.0},
    "transformer-learned": {
        "kind": "transformer",
        "hidden_size": 16,
        "num_heads": 2,
        "positions": "learned",
        "pooling": "mean",
        "dropout": 0.0,
    },
}

DECODERS = {
    "gru": {"kind": "recurrent", "cell": "gru", "embedding_size": 12, "hidden_size": 14},
    "lstm2-all": {
        "kind": "recurrent",
        "cell": "lstm",
        "embedding_size": 12,
        "hidden_size": 14,
        "num_layers": 2,
        "inject": ["initial", "concat", "output"],
    },
    "gru-rotary": {"kind": "recurrent", "embedding_size": 12, "hidden_size": 14, "inject": ["rotary"]},
    "gru-anchored": {"kind": "recurrent", "embedding_size": 12, "hidden_size": 14, "anchor_embeddings": True},
    "gru-untied-output": {
        "kind": "recurrent",
        "embedding_size": 12,
        "hidden_size": 14,
        "tie_embeddings": False,
        "inject": ["output"],
    },
    "transformer": {"kind": "transformer", "hidden_size": 16, "num_heads": 2, "num_layers": 2, "dropout": 0.0},
    "transformer-rotary": {
        "kind": "transformer",
        "hidden_size": 16,
        "num_heads": 2,
        "dropout": 0.0,
        "inject": ["rotary"],
    },
    "transformer-cross-learned": {
        "kind": "transformer",
        "hidden_size": 16,
        "num_heads": 2,
        "num_layers": 2,
        "positions": "learned",
        "inject": ["cross"],
        "latent_slots": 3,
        "dropout": 0.0,
    },
}

SUBJECTS = ("cat", "dog", "bird", "child", "farmer", "baker", "river", "moon")
VERBS = ("sees", "finds", "loses", "sings", "opens", "waits")
PLACES = ("at dawn", "near the old bridge", "in the rain", "by the sea", "after school", "on monday")


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Generated sentences, all different."""
    return [f"the {s} {v} something {p}" for s in SUBJECTS for v in VERBS for p in PLACES]


@pytest.fixture(scope="session")
def tokenizer(texts):
    """A word tokenizer of that corpus."""
    return make_tokenizer(TokenizerConfig(kind="word"), texts)


@pytest.fixture
def make_model():
    """Builds a small model, in evaluation mode, from names in ENCODERS and DECODERS or from mappings."""

    def build(encoder="gru", decoder="gru", latent_size=4, vocab_size=30, seed=0) -> TextVAEModel:
        torch.manual_seed(seed)
        config = TextVAEConfig(
            vocab_size=vocab_size,
            encoder=ENCODERS.get(encoder, encoder) if isinstance(encoder, str) else encoder,
            latent={"size": latent_size},
            decoder=DECODERS.get(decoder, decoder) if isinstance(decoder, str) else decoder,
        )
        return TextVAEModel(config).eval()

    return build


@pytest.fixture
def batch():
    """Five sentences of different lengths, padded on the right: ids (5,9) and mask (5,9)."""
    from textvae.data.collator import pad

    generator = torch.Generator().manual_seed(1)
    rows = [[1, *torch.randint(5, 30, (length,), generator=generator).tolist(), 2] for length in (3, 7, 1, 5, 2)]
    return pad(rows, 0)


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory, texts):
    """That corpus in a file, a text a line."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory, corpus_file):
    """A small model trained on it, with its run folder. Tests leave both as they are."""
    from tests.tiny import tiny_recipe, train_tiny

    return train_tiny(tiny_recipe(corpus_file, tmp_path_factory.mktemp("runs") / "tiny"))
