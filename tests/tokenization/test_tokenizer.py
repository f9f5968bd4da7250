"""Every kind of tokenizer: what comes back, which ids there are, and what is said of wrong options."""

import json
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoTokenizer,
    BertTokenizerFast,
    GPT2TokenizerFast,
    GPTNeoXTokenizer,
    PreTrainedTokenizerFast,
    T5Tokenizer,
)

from textvae.data.encoding import encode_texts
from textvae.tokenization import SPECIAL, TokenizerConfig, decode, make_tokenizer
from textvae.validation import parse_section

QUATRAINS = ["春眠不觉晓\n处处闻啼鸟\n夜来风雨声\n花落知多少", "白日依山尽\n黄河入海流\n欲穷千里目\n更上一层楼"]
KINDS = {
    "word": {"kind": "word"},
    "char": {"kind": "char"},
    "bpe": {"kind": "bpe", "vocab_size": 330},
    "unigram": {"kind": "unigram", "vocab_size": 330},
    "sentencepiece": {"kind": "sentencepiece", "vocab_size": 390},
    "sentencepiece-bpe": {"kind": "sentencepiece", "vocab_size": 390, "model_type": "bpe"},
}
LOSSLESS = [kind for kind in KINDS if kind not in ("word", "char")]
AWKWARD = "Zażółć 山水\n  “x” 🙂 ab\tc"
SPELT = "the <eos> dog<pad> <bos>sees <mask> <unk> </s> [SEP]<eos>"


@pytest.fixture(scope="module")
def corpus(texts) -> list[str]:
    rng = random.Random(0)
    return [*texts, *QUATRAINS * 9, *("".join(rng.choices("abcdefgh <>\n", k=30)) for _ in range(200))]


@pytest.fixture(scope="module")
def tokenizers(corpus) -> dict[str, PreTrainedTokenizerFast]:
    return {name: make_tokenizer(TokenizerConfig(**options), corpus) for name, options in KINDS.items()}


def round_trip(tokenizer, text: str) -> str:
    return decode(tokenizer, [tokenizer(text)["input_ids"]])[0]


@pytest.mark.parametrize("kind", LOSSLESS)
@settings(max_examples=150, deadline=None, derandomize=True)
@given(text=st.text(max_size=40) | st.text(st.sampled_from(" \n\tthe<eos>🙂山é\u0301"), max_size=40))
def test_every_text_comes_back(tokenizers, kind, text):
    # SentencePiece itself writes spaces as ▁, so that it cannot tell the two apart.
    expected = text.replace("▁", " ") if kind.startswith("sentencepiece") else text
    assert round_trip(tokenizers[kind], text) == expected


def test_which_kinds_are_lossless(tokenizers):
    assert [kind for kind in KINDS if round_trip(tokenizers[kind], AWKWARD) == AWKWARD] == LOSSLESS


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_without_holes_and_special_ones_come_first(tokenizers, kind):
    tokenizer = tokenizers[kind]
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    assert tokenizer.convert_ids_to_tokens(range(5)) == list(SPECIAL.values())
    assert [getattr(tokenizer, f"{name}_id") for name in SPECIAL] == list(range(5))
    assert len(tokenizer) <= (KINDS[kind].get("vocab_size") or 10**6)


@pytest.mark.parametrize("kind", KINDS)
def test_training_twice_gives_the_same(tokenizers, kind, corpus):
    again = make_tokenizer(TokenizerConfig(**KINDS[kind]), iter(corpus))
    assert again.backend_tokenizer.to_str() == tokenizers[kind].backend_tokenizer.to_str()


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_reloaded(tokenizers, kind, corpus, tmp_path):
    tokenizer = tokenizers[kind]
    tokenizer.save_pretrained(tmp_path)
    reloaded = AutoTokenizer.from_pretrained(tmp_path)
    assert [getattr(reloaded, name) for name in SPECIAL] == list(SPECIAL.values())
    for text in [*corpus[::17], SPELT, "", " ", "\n", " a  b\n\n", "🙂 山水"]:
        ids = tokenizer(text)["input_ids"]
        assert reloaded(text)["input_ids"] == ids
        assert decode(reloaded, [ids]) == decode(tokenizer, [ids])


@pytest.mark.parametrize("kind", KINDS)
def test_a_special_token_that_a_text_spells_is_text(tokenizers, kind):
    tokenizer = tokenizers[kind]
    ids = tokenizer(SPELT)["input_ids"]
    assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    special = {getattr(tokenizer, f"{name}_id") for name in SPECIAL} - {tokenizer.unk_token_id}
    assert not special & set(ids[1:-1])
    assert encode_texts([SPELT], tokenizer)["ids"][0] == ids
    if kind in LOSSLESS:
        assert round_trip(tokenizer, SPELT) == SPELT


def test_characters():
    tokenizer = make_tokenizer(TokenizerConfig(kind="char"), QUATRAINS)
    characters = Counter("".join(QUATRAINS))
    assert tokenizer.get_vocab().keys() == characters.keys() | set(SPECIAL.values())
    for text in QUATRAINS:
        assert len(tokenizer(text)["input_ids"]) == len(text) + 2
        assert round_trip(tokenizer, text) == text
    assert round_trip(tokenizer, "春🙂\n\n风e\u0301") == "春<unk>\n\n风<unk><unk>"
    assert round_trip(tokenizer, " 春") == "<unk>春"


def test_an_already_tokenised_corpus_comes_back():
    text = "no it was n't <unk> monday\nthe N % <unk> 's rate -- \\* new-york <unk>\n\nmr. <unk>"
    tokenizer = make_tokenizer(TokenizerConfig(kind="word"), [text])
    ids = tokenizer(text)["input_ids"]
    assert round_trip(tokenizer, text) == text
    assert ids.count(tokenizer.unk_token_id) == text.count("<unk>")
    assert len(ids) == len(text.replace("\n", " \n ").split(" ")) - 1 + 2  # two line ends in a row leave one empty word
    assert tokenizer.get_vocab().keys() == set(text.split()) | {"\n"} | set(SPECIAL.values())


def test_which_words_are_kept():
    texts = ["a a a a b b b c c d"] * 2 + ["e"]
    counts = {"a": 8, "b": 6, "c": 4, "d": 2, "e": 1}

    def words(**options):
        return make_tokenizer(TokenizerConfig(kind="word", **options), texts).get_vocab().keys() - set(SPECIAL.values())

    assert words() == set(counts)
    for least in (1, 2, 3, 5, 8, 9):
        assert words(min_frequency=least) == {word for word, count in counts.items() if count >= least}
    assert words(vocab_size=8) == {"a", "b", "c"}
    assert words(vocab_size=9, min_frequency=5) == {"a", "b"}


def test_rare_merges_are_left_out(texts):
    def size(least):
        return len(make_tokenizer(TokenizerConfig(kind="bpe", vocab_size=2000, min_frequency=least), texts))

    # Nothing is more frequent than all texts together have characters.
    assert size(10**6) == 5 + 256 < size(50) < size(1) <= 2000


def test_decoding_ends_at_the_first_eos_and_drops_only_bos_and_padding(tokenizers):
    tokenizer = tokenizers["bpe"]
    bos, eos, pad, unk = 1, 2, 0, 3
    words = tokenizer("the dog", add_special_tokens=False)["input_ids"]
    rows = [
        [bos, *words, eos, *words],
        [*words, eos, pad, pad],
        [*words],
        [pad, pad, bos, *words, eos],
        [bos, *words, pad],
    ]
    assert decode(tokenizer, rows) == ["the dog"] * 5
    assert decode(tokenizer, [[bos, eos], [eos, *words], [], [pad, pad]]) == [""] * 4
    assert decode(tokenizer, [[bos, unk, eos]]) == ["<unk>"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_other_token_is_eaten(tokenizers, kind):
    tokenizer = tokenizers[kind]
    rng = random.Random(1)
    for _ in range(200):
        ids = rng.choices(range(5, len(tokenizer)), k=6)
        expected = tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False)
        assert decode(tokenizer, [[1, *ids, 2, 0]]) == [expected]


def pretrained(make: str, texts: list[str]) -> PreTrainedTokenizerFast:
    """Small tokenizers like those of the Hub: with cls and sep, with one token for all, with none, with odd roles."""
    if make == "bert":
        backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        backend.normalizer, backend.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece()
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        backend.train_from_iterator(
            [*texts, "[ sep ]"],
            trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False),
        )
        return BertTokenizerFast(tokenizer_object=backend)
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = {
        "gpt2": ["<|endoftext|>"],
        "bare": [],
        "shared": ["<s>", "</s>", "<unk>"],
    }.get(make, ["<pad>", "</s>", "<unk>"])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    if make == "gpt2":
        return GPT2TokenizerFast(tokenizer_object=backend)
    roles = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
    if make in ("t5", "olmo"):
        roles = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    if make == "t5":
        backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, **({} if make == "bare" else roles))


@pytest.mark.parametrize(
    ("make", "bos", "eos", "pad", "unk", "new"),
    [
        ("bert", "[CLS]", "[SEP]", "[PAD]", "[UNK]", 0),
        ("gpt2", "<|endoftext|>", "<|endoftext|>", "<pad>", "<unk>", 2),
        ("bare", "<bos>", "<eos>", "<pad>", "<unk>", 4),
        ("shared", "<s>", "</s>", "<pad>", "<unk>", 1),
        ("t5", "<pad>", "</s>", "</s>", "<unk>", 0),  # whose decoder starts with padding
        ("olmo", "</s>", "</s>", "<pad>", "<unk>", 0),  # whose padding the model has never read
    ],
)
def test_pretrained(make, bos, eos, pad, unk, new, texts, tmp_path):
    original = pretrained(make, texts)
    original.save_pretrained(tmp_path / "original")
    tokenizer = make_tokenizer(TokenizerConfig(kind="pretrained", path=str(tmp_path / "original")), [])
    assert [tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token] == [bos, eos, pad, unk]
    assert len(tokenizer) == len(original) + new
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    tokenizer.save_pretrained(tmp_path / "saved")
    reloaded = AutoTokenizer.from_pretrained(tmp_path / "saved")
    for text in texts[::31]:
        body = original(text, add_special_tokens=False)["input_ids"]
        ids = [tokenizer.bos_token_id, *body, tokenizer.eos_token_id]
        assert tokenizer(text)["input_ids"] == reloaded(text)["input_ids"] == ids
        assert decode(tokenizer, [[*ids, tokenizer.pad_token_id]]) == [text]
    spelt = f"the dog {eos} sees {bos}{pad}"
    ids = tokenizer(spelt)["input_ids"]
    assert not {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id} & set(ids[1:-1])
    assert reloaded(spelt)["input_ids"] == encode_texts([spelt], tokenizer)["ids"][0] == ids
    assert (round_trip(tokenizer, AWKWARD) == AWKWARD) == (make != "bert")
    assert not {tokenizer.unk_token_id} & {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}


@pytest.mark.parametrize("make", ["t5", "gpt_neox"])
def test_classes_with_a_template_of_their_own(make, texts, tmp_path):
    """Read again from a run they would drop bos, or both ends."""
    if make == "t5":
        words = sorted({f"▁{word}" for text in texts for word in text.split()})
        vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((word, -3.0) for word in words)]
        original = T5Tokenizer(vocab=vocabulary, extra_ids=2)
    else:
        backend = pretrained("gpt2", texts).backend_tokenizer
        model = json.loads(backend.to_str())["model"]
        original = GPTNeoXTokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]])
    original.save_pretrained(tmp_path / "original")
    tokenizer = make_tokenizer(TokenizerConfig(kind="pretrained", path=str(tmp_path / "original")), [])
    tokenizer.save_pretrained(tmp_path / "saved")
    reloaded = AutoTokenizer.from_pretrained(tmp_path / "saved")
    body = original(texts[0], add_special_tokens=False)["input_ids"]
    ids = [tokenizer.bos_token_id, *body, tokenizer.eos_token_id]
    assert tokenizer(texts[0])["input_ids"] == reloaded(texts[0])["input_ids"] == ids
    assert reloaded.all_special_ids == tokenizer.all_special_ids
    assert decode(reloaded, [ids]) == [texts[0]]


@pytest.mark.parametrize(
    "files",
    [{}, {"tokenizer.json": "{"}, {"tokenizer.json": "{}"}]
    + [{"config.json": json.dumps({"model_type": family})} for family in ("canine", "gpt2", "bert", "t5", "llama")],
    ids=["empty", "broken", "hollow", "slow", "GPT-2's", "BERT's", "T5's", "Llama's"],
)
def test_a_folder_without_a_tokenizer(files, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=r"^tokenizer\.path: .*") as error:
        make_tokenizer(TokenizerConfig(kind="pretrained", path=str(tmp_path)), [])
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_as_many_subwords_as_the_corpus_yields_where_no_size_is_named(texts, kind):
    named = make_tokenizer(TokenizerConfig(kind=kind, vocab_size=8000), texts)
    assert make_tokenizer(TokenizerConfig(kind=kind), texts).get_vocab() == named.get_vocab()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "pretrained"}, "tokenizer: kind pretrained needs path: a Hub name or a folder"),
        (
            {"kind": "word", "path": "x"},
            "tokenizer: path goes with the kinds pretrained and sentencepiece, not with word",
        ),
        ({"kind": "words"}, r"tokenizer\.kind: 'words'.*'word'"),
        ({"kind": "word", "vocab_size": 7}, r"tokenizer\.vocab_size: 7 .*8"),
        ({"kind": "word", "vocab_size": "many"}, r"tokenizer\.vocab_size: 'many'.*integer"),
        ({"kind": "word", "min_frequency": 0}, r"tokenizer\.min_frequency: 0 .*1"),
        ({"kind": "word", "vocabsize": 9}, r"tokenizer\.vocabsize: unknown key; did you mean 'vocab_size'"),
        (
            {"kind": "sentencepiece", "vocab_size": 99, "model_type": "char"},
            r"tokenizer\.model_type: 'char'.*'unigram' or 'bpe'",
        ),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message) as error:
        parse_section(TokenizerConfig, options, "tokenizer")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "word"},
        {"kind": "char", "vocab_size": 8},
        {"kind": "sentencepiece", "path": "m.model"},
        {"kind": "pretrained", "path": "org/name"},
    ],
)
def test_options_that_need_no_more(options):
    assert parse_section(TokenizerConfig, options, "tokenizer").kind == options["kind"]
