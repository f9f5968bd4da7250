"""The carried-over normalizer against SentencePiece's own, on text made to be hard for it."""

import io
import random

import pytest
import sentencepiece as spm
from sentencepiece.sentencepiece_model_pb2 import ModelProto
from tokenizers import Regex, normalizers

from textvae.tokenization.charsmap import any_of, char_class, charsmap_normalizers, read_charsmap

# Marks that compose and marks that do not, jamo, joiners, a line end of two characters, and letters with a long tail.
HARD = list("aeiouAEIαωАи \n\r\x01\x7f\u0301\u0302\u0323\u0327\u0345\u0653\u064b\u0651\u05bc\u05b4\u200d\ufe0f")
HARD += list("かハ\u3099\u309aｶﾞ\u1100\u1161\u11a8가\u1112\u1175ﬁ①½Ａ\ufdfa\u212b\u0958👩🏽🇵\u0344\U000113c2\U00016d67")


def trained(texts, **options) -> tuple[bytes, spm.SentencePieceNormalizer]:
    """The map of a model with these options, and its normalizer, which leaves spaces alone."""
    file = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=file, vocab_size=40, minloglevel=2, **options
    )
    proto = ModelProto.FromString(file.getvalue())
    spec = proto.normalizer_spec
    spec.add_dummy_prefix = spec.remove_extra_whitespaces = spec.escape_whitespaces = False
    return spec.precompiled_charsmap, spm.SentencePieceNormalizer(model_proto=proto.SerializeToString())


@pytest.fixture(scope="module", params=["nmt_nfkc", "nfkc_cf"])
def charsmap(request, texts):
    return trained(texts, normalization_rule_name=request.param)


def test_rules_are_read_as_they_are_applied(charsmap):
    rules = read_charsmap(charsmap[0])
    keys = sorted(rules)
    assert len(keys) > 200_000
    assert [charsmap[1].normalize(key) for key in keys[::7]] == [rules[key] for key in keys[::7]]


def test_every_text_is_normalized_alike(charsmap):
    rules = sorted(read_charsmap(charsmap[0]))
    several = [key for key in rules if len(key) > 1 and not "가" <= charsmap[1].normalize(key) <= "힣"]
    ours = normalizers.Sequence(charsmap_normalizers(charsmap[0]))
    rng = random.Random(0)
    for _ in range(4000):
        parts = (rng.choice(rng.choice([HARD, HARD, rules, several])) for _ in range(rng.randrange(9)))
        text = "".join(parts)
        assert ours.normalize_str(text) == charsmap[1].normalize(text), ascii(text)


def test_a_map_of_ones_own(texts, tmp_path):
    rules = {"...": "…", "..": "‥", "``": '"', "x": "", "a": "o", "o": "a", "ß": "ss", "e\u0301": "É"}
    lines = ["\t".join(" ".join(f"{ord(char):x}" for char in side) for side in rule) for rule in rules.items()]
    (tmp_path / "rules.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    charsmap, theirs = trained(texts, normalization_rule_tsv=str(tmp_path / "rules.tsv"))
    assert read_charsmap(charsmap) == rules
    ours = normalizers.Sequence(charsmap_normalizers(charsmap))
    rng = random.Random(1)
    for _ in range(2000):
        text = "".join(rng.choice(".`xaoeß \u0301\u0323가\u1100\u1161\u212b") for _ in range(rng.randrange(9)))
        assert ours.normalize_str(text) == theirs.normalize(text), ascii(text)


def test_any_of_takes_the_longest():
    rng = random.Random(2)
    for _ in range(300):
        strings = ["".join(rng.choices("ab]^-\\&é", k=rng.randint(1, 4))) for _ in range(rng.randint(1, 8))]
        text = "".join(rng.choices("ab]^-\\&éc", k=30))
        expected, i = "", 0
        while i < len(text):
            found = max((s for s in strings if text.startswith(s, i)), key=len, default="")
            expected += "|" if found else text[i]
            i += len(found) or 1
        assert normalizers.Replace(Regex(any_of(strings)), "|").normalize_str(text) == expected, strings


def test_char_class_takes_each_character_as_it_is():
    chars = set("]^-[\\&&\n é🙂")
    text = "".join(sorted(chars)) + "abc"
    assert normalizers.Replace(Regex(char_class(chars)), "").normalize_str(text) == "abc"
