"""Ids and texts against those of the sentencepiece package, for models of many makes."""

import io
import random

import pytest
import sentencepiece as spm
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece.sentencepiece_model_pb2 import ModelProto
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from textvae.tokenization import SPECIAL, TokenizerConfig, decode, make_tokenizer, wrap
from textvae.tokenization.sentencepiece import load_sentencepiece, special_tokens, train_sentencepiece

SYMBOLS = ["\n", "<x>", "ab", "bcd", "é", "s>", "▁▁"]
PLAIN = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
# How a model may be made; each as unigram and as bpe.
MAKES = {
    "default": {},
    "identity": PLAIN | {"add_dummy_prefix": False},
    "bytes": {"normalization_rule_name": "identity", "byte_fallback": True},
    "symbols": {"normalization_rule_name": "nmt_nfkc_cf", "user_defined_symbols": SYMBOLS},
    "symbols-bytes": PLAIN | {"user_defined_symbols": SYMBOLS[:-1], "byte_fallback": True},
    "across-words": PLAIN | {"split_by_whitespace": False},
    "suffix": {"normalization_rule_name": "identity", "treat_whitespace_as_suffix": True, "control_symbols": ["[C]"]},
    "names": PLAIN | {"bos_id": -1, "eos_id": 1, "eos_piece": "[E]", "unk_id": 2, "unk_piece": "[U]", "pad_id": 0},
}
PARTS = [" ", " ", "  ", "   ", "\n", "\t", "\r\n", "\u3000", "\u00a0", "\u200b", "\x01", "▁", "▁▁"]
PARTS += ["the", "cat", "sees", "the dog", "a", "aa", "...", "ha", "hah", "ab", "abc", "bcd", "N", "1990", "don't", ","]
PARTS += ["<unk>", "<s>", "</s>", "<pad>", "<bos>", "<mask>", "<0x41>", "<0xE5>", "[E]", "[U]", "[C]", "<x>", "＜x＞"]
PARTS += [
    "é",
    "e\u0301",
    "가",
    "\u1100\u1161",
    "が",
    "か\u3099",
    "ﬁ",
    "①",
    "Ａ\u0301",
    "ż",
    "мир",
    "山",
    "春",
    "한국",
    "🙂",
]
PARTS += ["👩🏽‍🚀", "\ufffd", "“x”", "½"]


@pytest.fixture(scope="module")
def corpus() -> list[str]:
    """Sentences of invented words, with words of other scripts, runs and double spaces in between."""
    rng = random.Random(0)
    syllables = [a + b + c for a in "bcdfghlmnprst" for b in "aeiou" for c in ("", "n", "st", "'s", "19", ",")]
    words = ["the", "cat", "sees", "dog", *("".join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(400))]
    mixed = ["春眠不觉晓", "Zażółć gęślą jaźń", "привет мир", "hahaha ha", "aaa aa .... ..", "two  spaces", "한국어"]
    return [" ".join(rng.choices(words, k=8) + rng.choices(mixed, k=1)) for _ in range(700)]


def trained(texts, **options) -> bytes:
    file = io.BytesIO()
    options = {"vocab_size": 450 if options.get("byte_fallback") else 200, "minloglevel": 2} | options
    spm.SentencePieceTrainer.train(sentence_iterator=iter(texts), model_writer=file, **options)
    return file.getvalue()


def generated(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(PARTS, k=rng.randrange(12))) for _ in range(count)]


def edited(model: bytes, change) -> bytes:
    proto = ModelProto.FromString(model)
    change(proto)
    return proto.SerializeToString()


def round_scores(proto: ModelProto) -> None:
    for piece in proto.pieces:
        piece.score = round(piece.score * 256) / 256


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def model_type(request):
    return request.param


@pytest.fixture(scope="module")
def own(model_type, corpus):
    """A model as the toolkit trains it: the package's processor and ours."""
    model = train_sentencepiece(corpus, 500, model_type)
    return spm.SentencePieceProcessor(model_proto=model), load_sentencepiece(model)


@pytest.mark.parametrize("make", MAKES)
def test_same_ids_and_texts(make, model_type, corpus):
    model = edited(trained(corpus, model_type=model_type, **MAKES[make]), round_scores)
    theirs, ours = spm.SentencePieceProcessor(model_proto=model), load_sentencepiece(model)
    reloaded = Tokenizer.from_str(ours.to_str())
    for text in generated(3, 2000):
        ids = theirs.encode(text)
        assert ours.encode(text).ids == ids, ascii(text)
        assert reloaded.encode(text).ids == ids, ascii(text)
        assert ours.decode(ids, skip_special_tokens=False) == theirs.decode(ids), ascii(text)
    rng = random.Random(4)
    sound = [i for i in range(len(theirs)) if not theirs.is_byte(i)]
    for _ in range(500):
        ids = rng.choices(sound, k=rng.randrange(7))
        assert ours.decode(ids, skip_special_tokens=False) == theirs.decode(ids), ids


def test_other_scores_differ_only_where_segmentations_tie(corpus):
    # Which of two orders of the same pieces is better is up to the rounding errors of the package.
    model = trained(corpus)
    theirs, ours = spm.SentencePieceProcessor(model_proto=model), load_sentencepiece(model)
    pairs = [(theirs.encode(text), ours.encode(text).ids) for text in generated(6, 2000)]
    assert all(sorted(one) == sorted(two) for one, two in pairs)
    assert sum(one != two for one, two in pairs) < 60


@settings(max_examples=400, deadline=None, derandomize=True)
@given(text=st.text(max_size=40) | st.text(st.sampled_from("aht. \n▁<>s春"), max_size=40))
def test_own_models_on_any_text(own, text):
    theirs, ours = own
    ids = theirs.encode(text)
    assert ours.encode(text).ids == ids
    assert ours.decode(ids, skip_special_tokens=False) == theirs.decode(ids) == text.replace("▁", " ")


@pytest.mark.parametrize("char", ["a", ".", " ", "\n", "ha", "é", "春"])
def test_runs_which_have_many_segmentations_of_one_score(own, char):
    theirs, ours = own
    for length in range(60):
        text = "the" * (length % 3) + char * length
        assert ours.encode(text).ids == theirs.encode(text)


def test_wrapped_and_saved(own, tmp_path):
    theirs, ours = own
    tokenizer = wrap(ours)
    tokenizer.save_pretrained(tmp_path)
    reloaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in [*generated(5, 200), "", " ", "\n\n", " a", "a ", "春 眠\n🙂"]:
        ids = [theirs.bos_id(), *theirs.encode(text), theirs.eos_id()]
        assert tokenizer(text)["input_ids"] == reloaded(text)["input_ids"] == ids
        assert decode(tokenizer, [ids]) == decode(reloaded, [ids]) == [theirs.decode(ids)]


def test_own_special_tokens(own):
    theirs, ours = own
    assert [theirs.id_to_piece(i) for i in range(5)] == list(SPECIAL.values())
    assert ours.get_vocab() == {theirs.id_to_piece(i): i for i in range(len(theirs))}


def test_special_tokens_by_the_names_of_the_model(model_type, corpus, tmp_path):
    model = trained(corpus, model_type=model_type, **MAKES["names"])
    names = {"bos_token": "<bos>", "mask_token": "<mask>", "eos_token": "[E]", "unk_token": "[U]", "pad_token": "<pad>"}
    assert special_tokens(model) == names
    (tmp_path / "m.model").write_bytes(model)
    tokenizer = make_tokenizer(TokenizerConfig(kind="sentencepiece", path=str(tmp_path / "m.model")), [])
    theirs = spm.SentencePieceProcessor(model_proto=model)
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert sorted([tokenizer.bos_token_id, tokenizer.mask_token_id]) == [len(theirs), len(theirs) + 1]
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    text = "the cat <bos> [E] [U] <mask> <pad>"
    ids = tokenizer(text)["input_ids"]
    assert ids == [tokenizer.bos_token_id, *theirs.encode(text), 1]
    assert decode(tokenizer, [ids]) == [theirs.decode(theirs.encode(text))]


def test_a_name_of_unknown_characters_is_one_unknown():
    model = trained(["春眠不觉晓处处闻啼鸟"] * 30, vocab_size=14, **PLAIN)
    theirs, ours = spm.SentencePieceProcessor(model_proto=model), load_sentencepiece(model)
    for text in ("<s>", "春<s>眠", "<s></s>", "x<unk>x", "<s", "春</s> 眠"):
        assert ours.encode(text).ids == theirs.encode(text), text


def test_scores_are_exact_in_float32(corpus):
    pieces = ModelProto.FromString(train_sentencepiece(corpus, 400, "unigram")).pieces
    scores = [piece.score for piece in pieces if piece.type == piece.NORMAL]
    assert len(set(scores)) > 10
    assert all(score * 256 == round(score * 256) for score in scores)


def test_a_corpus_too_small_for_the_vocabulary():
    with pytest.raises(
        ValueError, match=r"^tokenizer: sentencepiece cannot train: Vocabulary size too high.*<= \d+\.$"
    ):
        train_sentencepiece(["a b c"] * 10, 5000, "unigram")


@pytest.mark.parametrize("content", [b"", b"hello world\n", bytes(range(256)), b'{"model": {"type": "BPE"}}'])
def test_a_file_that_is_no_model(content, tmp_path, capfd):
    (tmp_path / "m.model").write_bytes(content)
    with pytest.raises(ValueError, match=r"^tokenizer\.path: not a SentencePiece model$"):
        make_tokenizer(TokenizerConfig(kind="sentencepiece", path=str(tmp_path / "m.model")), [])
    assert not any(capfd.readouterr())


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"^tokenizer\.path: no such file: .*m\.model$"):
        make_tokenizer(TokenizerConfig(kind="sentencepiece", path=str(tmp_path / "m.model")), [])


def test_models_that_are_refused(corpus):
    model = trained(corpus)
    with pytest.raises(ValueError, match=r"tokenizer\.path: .* of type char; only unigram and bpe"):
        load_sentencepiece(trained(corpus, model_type="char"))
    with pytest.raises(ValueError, match=r"tokenizer\.path: .* pieces marked as unused"):
        load_sentencepiece(edited(model, lambda proto: setattr(proto.pieces[9], "type", 5)))
    with pytest.raises(ValueError, match=r"tokenizer\.path: .* a denormalizer"):
        load_sentencepiece(edited(model, lambda proto: proto.denormalizer_spec.CopyFrom(proto.normalizer_spec)))
    with pytest.raises(ValueError, match=r"tokenizer\.path: .* spaces that are not escaped"):
        load_sentencepiece(edited(model, lambda proto: setattr(proto.normalizer_spec, "escape_whitespaces", False)))
