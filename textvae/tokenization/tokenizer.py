"""Trains or loads a tokenizer; whatever its kind, it is a fast one that puts bos and eos around a text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from textvae import weights
from textvae.tokenization.special import DEFAULT_SIZE, SPECIAL
from textvae.validation import Section, one_line

# Ids of a byte-level vocabulary before anything is learnt: every byte and the special tokens.
LEAST_BYTES = 256 + len(SPECIAL)


class TokenizerConfig(Section):
    """A tokenizer.

    Args:
        kind: word (split at spaces and line ends, for corpora that are tokenised already), char, bpe and unigram
            (byte-level: every text comes back as it went in), sentencepiece, or pretrained.
        vocab_size: most ids, special ones counted; when null 8,000 subwords, or every word or character that is
            frequent enough.
        min_frequency: how often a word, character or merge must occur to be kept.
        path: a Hub name, a folder or `package:NAME` for `pretrained`; a .model file for `sentencepiece`, which is
            trained when null.
        revision: of the Hub's repository.
        model_type: of a sentencepiece model that is trained here.
    """

    kind: Literal["word", "char", "bpe", "unigram", "sentencepiece", "pretrained"] = "bpe"
    vocab_size: int | None = Field(None, ge=8)
    min_frequency: int = Field(1, ge=1)
    path: str | None = None
    revision: str | None = None
    model_type: Literal["unigram", "bpe"] = "unigram"

    @model_validator(mode="after")
    def _consistent(self):
        if self.kind == "pretrained" and not self.path:
            raise ValueError("kind pretrained needs path: a Hub name or a folder")
        if self.path and self.kind not in ("pretrained", "sentencepiece"):
            raise ValueError(f"path goes with the kinds pretrained and sentencepiece, not with {self.kind}")
        if self.kind in ("bpe", "unigram") and self.subwords < LEAST_BYTES:
            raise ValueError(
                f"vocab_size {self.vocab_size} is too small for kind {self.kind}, which has all 256 bytes; at least "
                f"{LEAST_BYTES}"
            )
        return self

    @property
    def subwords(self) -> int:
        """Most subwords, special ones counted."""
        return self.vocab_size or DEFAULT_SIZE


def make_tokenizer(
    config: TokenizerConfig, texts: Iterable[str], where: str = "tokenizer.path"
) -> PreTrainedTokenizerFast:
    """Trains a tokenizer on texts, or loads one.

    Args:
        config: what kind.
        texts: the training split; not read when the tokenizer is loaded.
        where: dotted path in the recipe of the name of a pretrained one, for messages.

    Returns:
        A fast tokenizer with bos, eos, pad, unk (and, where trained here, mask) tokens.

    Raises:
        ValueError: the tokenizer cannot be loaded, or the corpus is too small for the vocabulary asked for.
    """
    texts = (text.strip() for text in texts)
    if config.kind == "pretrained":
        return _with_special_tokens(load_tokenizer(config.path, config.revision, where))
    if config.kind == "sentencepiece":
        from textvae.tokenization.sentencepiece import load_sentencepiece, special_tokens, train_sentencepiece

        if config.path:
            model = _existing(config.path).read_bytes()
        else:
            model = train_sentencepiece(texts, config.vocab_size, config.model_type)
        return wrap(load_sentencepiece(model), special_tokens(model))
    build = {"word": _word, "char": _char, "bpe": _bpe, "unigram": _unigram}[config.kind]
    tokenizer, trainer = build(config)
    try:
        tokenizer.train_from_iterator(texts, trainer)
    except (ValueError, OSError):
        raise  # of the texts
    except Exception as error:  # tokenizers raises nothing more specific
        raise ValueError(f"tokenizer: {config.kind} cannot be trained on this corpus: {one_line(error)}") from None
    if config.kind == "word":
        tokenizer.model = _without_twins(tokenizer.get_vocab())
    if config.kind == "unigram":
        tokenizer.model = _in_order(tokenizer)
    return wrap(tokenizer)


def wrap(tokenizer: Tokenizer, special: dict[str, str] = SPECIAL) -> PreTrainedTokenizerFast:
    """A transformers tokenizer around a backend; it adds bos and eos.

    Args:
        tokenizer: the backend.
        special: what it calls its special tokens, under the keys of `SPECIAL`; those it lacks come after its others.
    """
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special.values()])
    bos, eos = special["bos_token"], special["eos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (bos, eos)],
    )
    # Special tokens are never read from a text: a text that holds "<eos>" is a text.
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, split_special_tokens=True, clean_up_tokenization_spaces=False, **special
    )


def decode(tokenizer: PreTrainedTokenizerFast, ids: Iterable[Iterable[int]]) -> list[str]:
    """Ids to texts: up to the first eos, without bos and padding. Unknown words stay visible.

    Args:
        tokenizer: the run's.
        ids: rows of ids.

    Returns:
        One text a row.
    """
    skip = {tokenizer.bos_token_id, tokenizer.pad_token_id} - {tokenizer.eos_token_id}
    rows = []
    for row in ids:
        row = [int(i) for i in row]
        if row and row[0] == tokenizer.bos_token_id:
            row = row[1:]
        if tokenizer.eos_token_id in row:
            row = row[: row.index(tokenizer.eos_token_id)]
        rows.append([i for i in row if i not in skip])
    return tokenizer.backend_tokenizer.decode_batch(rows, skip_special_tokens=False)


def _word(config: TokenizerConfig) -> tuple[Tokenizer, trainers.Trainer]:
    tokenizer = Tokenizer(models.WordLevel(unk_token=SPECIAL["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Split(Regex(r"[^\S\n]+"), "removed")]
    )
    # A word that is spelt like a special token must not become one; <unk> may, as in PTB.
    tokenizer.normalizer = normalizers.Replace(Regex(r"(?<!\S)<(pad|bos|eos|mask)>(?!\S)"), SPECIAL["unk_token"])
    # WordPiece joins with spaces; no word starts with its prefix, since a line end is a word of its own.
    tokenizer.decoder = decoders.Sequence(
        [decoders.WordPiece(prefix="\n\n", cleanup=False), decoders.Fuse()]
        + [decoders.Replace(old, "\n") for old in (" \n", "\n ")]
    )
    return tokenizer, _level_trainer(config)


def _without_twins(vocab: dict[str, int]) -> models.WordLevel:
    # A corpus that holds the word <unk> trains it twice: as a special token and as a word, whose id then stays.
    words = sorted(set(vocab) - set(SPECIAL.values()), key=vocab.get)
    return models.WordLevel(
        {word: i for i, word in enumerate([*SPECIAL.values(), *words])}, unk_token=SPECIAL["unk_token"]
    )


def _char(config: TokenizerConfig) -> tuple[Tokenizer, trainers.Trainer]:
    tokenizer = Tokenizer(models.WordLevel(unk_token=SPECIAL["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.FixedLength(1)
    tokenizer.decoder = decoders.Fuse()
    return tokenizer, _level_trainer(config)


def _level_trainer(config: TokenizerConfig) -> trainers.Trainer:
    return trainers.WordLevelTrainer(
        vocab_size=config.vocab_size or 2**31,
        min_frequency=config.min_frequency,
        special_tokens=list(SPECIAL.values()),
        show_progress=False,
    )


def _byte_level(tokenizer: Tokenizer) -> Tokenizer:
    # A space is put before every text, so that a word is the same token at the start as elsewhere; it goes in decoding.
    tokenizer.normalizer = normalizers.Prepend(" ")
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    return tokenizer


def _bpe(config: TokenizerConfig) -> tuple[Tokenizer, trainers.Trainer]:
    return _byte_level(Tokenizer(models.BPE())), trainers.BpeTrainer(
        vocab_size=config.subwords,
        min_frequency=config.min_frequency,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )


def _unigram(config: TokenizerConfig) -> tuple[Tokenizer, trainers.Trainer]:
    return _byte_level(Tokenizer(models.Unigram())), trainers.UnigramTrainer(
        vocab_size=config.subwords,
        unk_token=SPECIAL["unk_token"],
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )


def _in_order(tokenizer: Tokenizer) -> models.Unigram:
    # The trainer goes by a hash table: the ids, and the scores of bytes that no text has (0.0001 apart, from the least
    # score up), differ from run to run.
    vocab = json.loads(tokenizer.to_str())["model"]["vocab"]
    special, learnt = vocab[: len(SPECIAL)], vocab[len(SPECIAL) :]
    least = round(min(score for _, score in learnt), 6)
    unseen = least + 0.0001 * 256
    scores = {token: least if len(token) == 1 and score < unseen else round(score, 6) for token, score in learnt}
    ordered = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return models.Unigram([*map(tuple, special), *ordered], unk_id=list(SPECIAL).index("unk_token"))


def _existing(path: str) -> Path:
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"tokenizer.path: no such file: {path}")
    return file


def load_tokenizer(name: str, revision: str | None, where: str) -> PreTrainedTokenizerFast:
    """A pretrained tokenizer as it is, except that a special token which a text spells is text.

    Args:
        name: `user/model` on the Hub, a folder, or `package:NAME`.
        revision: of the Hub's repository.
        where: dotted path in the recipe, for messages.

    Raises:
        ValueError: it cannot be loaded, is not a fast one, or knows no word.
    """
    tokenizer = weights.load(AutoTokenizer, name, revision, where, split_special_tokens=True)
    if not tokenizer.is_fast:
        raise ValueError(f"{where}: {name!r} has no fast tokenizer")
    words = tokenizer.get_vocab().keys() - tokenizer.get_added_vocab().keys() - set(tokenizer.all_special_tokens)
    if len(words) < 2:  # what transformers makes of a folder without a tokenizer's files; T5's then has the space
        raise ValueError(f"{where}: {name!r} has no vocabulary; are its tokenizer's files there?")
    return tokenizer


def _with_special_tokens(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    # Where one is missing, the pairs that mean the same elsewhere stand in before a new token is made.
    last = tokenizer.eos_token or tokenizer.sep_token
    first = tokenizer.bos_token or tokenizer.cls_token
    ends_texts = last is not None and tokenizer("")["input_ids"] == [tokenizer.convert_tokens_to_ids(last)]
    if first is None and ends_texts and tokenizer.pad_token not in (None, last, tokenizer.unk_token):
        first, tokenizer.pad_token = tokenizer.pad_token, last  # of an encoder-decoder that starts with padding: T5's
    # Any other model that knows no first token has seen its last one before each text.
    first = first or last
    for name, token in (("bos_token", first), ("eos_token", last)):
        if getattr(tokenizer, name) is None:
            tokenizer.add_special_tokens({name: token or SPECIAL[name]})
    # Word dropout puts in unk, which must not end a text; and padding is taken away, which unknown words must not be.
    for name, others in (("unk_token", ("bos_token", "eos_token")), ("pad_token", ("bos_token", "unk_token"))):
        if getattr(tokenizer, name) in (None, *(getattr(tokenizer, other) for other in others)):
            tokenizer.add_special_tokens({name: SPECIAL[name]})
    bos, eos = tokenizer.bos_token, tokenizer.eos_token
    # Of no class of its own: T5's and GPT-NeoX's, read again from a run, would put their own template in place of this.
    named = tokenizer.special_tokens_map
    plain = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        split_special_tokens=True,
        model_max_length=tokenizer.model_max_length,
        clean_up_tokenization_spaces=tokenizer.clean_up_tokenization_spaces,
        extra_special_tokens=[token for token in tokenizer.all_special_tokens if token not in named.values()],
        **named,
    )
    plain.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos}:0 $A:0 {eos}:0",
        special_tokens=[(bos, tokenizer.bos_token_id), (eos, tokenizer.eos_token_id)],
    )
    return plain
