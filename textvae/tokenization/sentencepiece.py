"""SentencePiece models as fast tokenizers, with the very ids that the sentencepiece package gives.

What transformers converts falls short of that: text that spells a control piece becomes it, decomposed text is
normalized otherwise, user-defined symbols are cut out before the normalizer sees the text. Two things stay out of
reach. Where two segmentations score the same (runs of one character), the package decides by the rounding error of its
float32 sums, and tokenizers sums in float64; models trained here have scores whose sums are exact. And bytes that are
no UTF-8, which no text gives but a sample may, are decoded to U+FFFD together with the sound bytes around them.
"""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Iterable

import sentencepiece as spm
from sentencepiece.sentencepiece_model_pb2 import ModelProto, TrainerSpec
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers.convert_slow_tokenizer import generate_merges

from textvae.tokenization.charsmap import any_of, char_class, charsmap_normalizers
from textvae.tokenization.special import DEFAULT_SIZE, SPECIAL

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
SPACE = "▁"
# An unassigned character, which no text or model has.
_MARK = "\ufff0"
# Steps of a score: a power of two, so that sums of some thousand scores are exact in float32.
_SCORE_STEP = 2**-8


def train_sentencepiece(texts: Iterable[str], vocab_size: int | None, model_type: str) -> bytes:
    """Trains a model, with byte fallback and with line ends and runs of spaces kept.

    Args:
        texts: the training split.
        vocab_size: pieces, special ones counted; when null DEFAULT_SIZE, or as many as the corpus gives.
        model_type: unigram or bpe.

    Returns:
        The bytes of a `.model` file.

    Raises:
        ValueError: the corpus is too small for the vocabulary.
    """
    file = io.BytesIO()
    try:
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=file,
            vocab_size=vocab_size or DEFAULT_SIZE,
            hard_vocab_limit=vocab_size is not None,
            max_sentence_length=2**30,  # in bytes; longer ones would be left out
            model_type=model_type,
            byte_fallback=True,
            character_coverage=0.9995,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            user_defined_symbols=["\n"],
            pad_id=0,
            bos_id=1,
            eos_id=2,
            unk_id=3,
            pad_piece=SPECIAL["pad_token"],
            bos_piece=SPECIAL["bos_token"],
            eos_piece=SPECIAL["eos_token"],
            unk_piece=SPECIAL["unk_token"],
            control_symbols=[SPECIAL["mask_token"]],
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split()).rpartition("] ")[2]
        raise ValueError(f"tokenizer: sentencepiece cannot train: {reason}") from None
    model = ModelProto.FromString(file.getvalue())
    for piece in model.pieces:
        if piece.type == NORMAL:
            piece.score = round(piece.score / _SCORE_STEP) * _SCORE_STEP
    return model.SerializeToString()


def load_sentencepiece(model: bytes) -> Tokenizer:
    """Turns a model into a tokenizer that gives a text the same ids, and the ids of a text the same text.

    Args:
        model: the bytes of a `.model` file, of type unigram or bpe.

    Returns:
        A tokenizer that adds no special tokens.

    Raises:
        ValueError: these bytes are no such model, or it does what a fast tokenizer cannot.
    """
    proto = _parse(model)
    visible = [piece.piece for piece in proto.pieces if piece.type in (NORMAL, USER_DEFINED)]
    # One character of a private plane for each user-defined symbol.
    symbols = [piece.piece for piece in proto.pieces if piece.type == USER_DEFINED]
    stand_ins = {symbol: chr(0xF0000 + i) for i, symbol in enumerate(symbols)}
    if proto.trainer_spec.model_type == TrainerSpec.BPE:
        # BPE never merges a symbol with what is beside it: it is made one character, and that a word of its own.
        frozen = {symbol: char for symbol, char in stand_ins.items() if len(symbol) > 1}
        alone = {frozen.get(symbol, symbol) for symbol in symbols}
        cuts = [pre_tokenizers.Split(Regex(char_class(alone)), "isolated")] if alone else []
        tokenizer, unspelt = Tokenizer(_bpe(proto, frozen)), []
    else:
        frozen = {}
        hidden = [piece.piece for piece in proto.pieces if piece.type in (UNKNOWN, CONTROL, BYTE)]
        cuts, unspelt = _keep_apart(hidden, visible, proto.trainer_spec.byte_fallback)
        tokenizer = Tokenizer(_unigram(proto))
    if SPACE in visible and not any(re.search(f"[^{SPACE}]{SPACE}", piece) for piece in visible):
        # No piece goes beyond a word, so that words may be looked up one by one, which is faster.
        cuts.append(pre_tokenizers.Split(Regex(f"{SPACE}*[^{SPACE}]+|{SPACE}+"), "isolated"))
    tokenizer.normalizer = normalizers.Sequence([*_normalizers(proto, stand_ins, frozen), *unspelt])
    if cuts:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    tokenizer.decoder = _decoder(proto, frozen)
    return tokenizer


def special_tokens(model: bytes) -> dict[str, str]:
    """What a model calls its special tokens; those that it lacks have the names of `SPECIAL`.

    Args:
        model: as for `load_sentencepiece`.
    """
    _parse(model)
    pieces = spm.SentencePieceProcessor(model_proto=model)
    ids = {"pad_token": pieces.pad_id(), "bos_token": pieces.bos_id(), "eos_token": pieces.eos_id()}
    own = {name: pieces.id_to_piece(i) for name, i in ids.items() if i >= 0}
    return SPECIAL | own | {"unk_token": pieces.id_to_piece(pieces.unk_id())}


def _parse(model: bytes) -> ModelProto:
    try:
        if not model:
            raise RuntimeError
        spm.SentencePieceProcessor(model_proto=model)
    except RuntimeError:
        raise ValueError("tokenizer.path: not a SentencePiece model") from None
    proto = ModelProto.FromString(model)
    kind = proto.trainer_spec.model_type
    if kind not in (TrainerSpec.UNIGRAM, TrainerSpec.BPE):
        name = TrainerSpec.ModelType.Name(kind).lower()
        raise ValueError(f"tokenizer.path: a SentencePiece model of type {name}; only unigram and bpe can be loaded")
    refused = {
        "pieces marked as unused": any(piece.type == UNUSED for piece in proto.pieces),
        "a denormalizer": bool(proto.denormalizer_spec.precompiled_charsmap),
        "spaces that are not escaped": not proto.normalizer_spec.escape_whitespaces,
    }
    for what, found in refused.items():
        if found:
            raise ValueError(f"tokenizer.path: the SentencePiece model has {what}, which a fast tokenizer cannot have")
    return proto


def _unknown(proto: ModelProto) -> int:
    return [piece.type for piece in proto.pieces].index(UNKNOWN)


def _unigram(proto: ModelProto) -> models.Unigram:
    # The package itself scores user-defined symbols, by their bytes, so that they are preferred; of the other pieces
    # that are not normal it finds none.
    vocab = [
        (piece.piece, {NORMAL: piece.score, USER_DEFINED: 0.1 * (len(piece.piece.encode()) - 1)}.get(piece.type, 0.0))
        for piece in proto.pieces
    ]
    return models.Unigram(vocab, _unknown(proto), proto.trainer_spec.byte_fallback)


def _bpe(proto: ModelProto, frozen: dict[str, str]) -> models.BPE:
    vocab = {frozen.get(piece.piece, piece.piece): i for i, piece in enumerate(proto.pieces)}
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type == NORMAL}
    return models.BPE(
        vocab,
        generate_merges({piece: vocab[piece] for piece in scores}, scores),
        unk_token=proto.pieces[_unknown(proto)].piece,
        fuse_unk=True,
        byte_fallback=proto.trainer_spec.byte_fallback,
    )


def _normalizers(proto: ModelProto, stand_ins: dict[str, str], frozen: dict[str, str]) -> list:
    spec, as_suffix = proto.normalizer_spec, proto.trainer_spec.treat_whitespace_as_suffix
    as_prefix = spec.add_dummy_prefix and not as_suffix
    # A symbol is left as it is spelt.
    protected = stand_ins if spec.precompiled_charsmap else {}
    steps = _replace_all(protected)
    if as_prefix:
        steps.append(normalizers.Prepend(SPACE))
    if spec.precompiled_charsmap:
        steps += charsmap_normalizers(spec.precompiled_charsmap)
    steps += [normalizers.Replace(char, symbol) for symbol, char in protected.items()]
    if spec.remove_extra_whitespaces:
        steps.append(normalizers.Replace(Regex(rf"(?<=\A{SPACE}) +" if as_prefix else r"\A +"), ""))
        steps.append(normalizers.Replace(Regex(" {2,}"), " "))
    if spec.add_dummy_prefix and as_suffix:
        steps.append(normalizers.Replace(Regex(r"(?<!\A)\z"), _MARK))
    steps.append(normalizers.Replace(" ", SPACE))
    if spec.remove_extra_whitespaces:
        steps.append(normalizers.Replace(Regex(rf"{SPACE}+(?={_MARK}?\z)"), ""))
    if spec.add_dummy_prefix and as_suffix:
        steps.append(normalizers.Replace(_MARK, SPACE))
    return [*steps, *_replace_all(frozen)]


def _replace_all(stand_ins: dict[str, str]) -> list:
    # At each place the longest symbol, from left to right: first the end of each is marked, since one Replace has only
    # one replacement.
    if not stand_ins:
        return []
    longest_first = sorted(stand_ins, key=len, reverse=True)
    return [
        normalizers.Replace(Regex(any_of(longest_first) + r"\K"), _MARK),
        *(normalizers.Replace(symbol + _MARK, stand_ins[symbol]) for symbol in longest_first),
    ]


def _keep_apart(hidden: list[str], visible: list[str], byte_fallback: bool) -> tuple[list, list]:
    """Unigram would find control, byte and unknown pieces in a text that spells them; the package does not.

    Returns:
        Pre-tokenizers that cut such a text where no other piece would go across, and normalizers for the names of
        unknown characters only, which would be cut into two unknowns: they become one unknown character.
    """
    known, pairs = set("".join(visible)), defaultdict(list)
    for piece in visible:
        for i in range(len(piece) - 1):
            pairs[piece[i : i + 2]].append((piece, i))

    def cost(name: str, cut: int) -> tuple[bool, bool]:
        around = name[cut - 1 : cut + 1]
        crossed = any(_fits(piece, name, cut - 1 - i) for piece, i in pairs[around])
        return crossed, not byte_fallback and single.isdisjoint(around)

    single = {piece for piece in visible if len(piece) == 1}
    cuts, unspelt = defaultdict(list), []
    for name in hidden:
        if len(name) == 1 or (not byte_fallback and known.isdisjoint(name)):
            unspelt.append(normalizers.Replace(name, _MARK))
        else:
            cut = min(range(1, len(name)), key=lambda cut, name=name: cost(name, cut))
            cuts[name[:cut]].append(name[cut:])
    split = [rf"(?<={re.escape(start)})(?={any_of(ends)})" for start, ends in cuts.items()]
    return [pre_tokenizers.Split(Regex("|".join(split)), "isolated")] if split else [], unspelt


def _fits(piece: str, name: str, offset: int) -> bool:
    # Whether a piece that starts so far behind the start of a name agrees with it wherever both are.
    return all(char == name[offset + i] for i, char in enumerate(piece) if 0 <= offset + i < len(name))


def _decoder(proto: ModelProto, frozen: dict[str, str]) -> decoders.Decoder:
    spec = proto.normalizer_spec
    silent = [re.escape(piece.piece) for piece in proto.pieces if piece.type == CONTROL]
    steps = [decoders.Replace(Regex(rf"\A(?:{'|'.join(silent)})\z"), "")] if silent else []
    unknown = re.escape(proto.pieces[_unknown(proto)].piece)
    steps.append(decoders.Replace(Regex(rf"\A{unknown}\z"), proto.trainer_spec.unk_surface))
    steps += [decoders.Replace(char, symbol) for symbol, char in frozen.items()]
    if proto.trainer_spec.byte_fallback:
        steps.append(decoders.ByteFallback())
    if spec.remove_extra_whitespaces:
        # One space goes from each piece until there is text; a second one in a piece is text.
        steps += [
            decoders.Replace(Regex(rf"\A{SPACE}(?={SPACE})"), _MARK),
            decoders.Fuse(),
            decoders.Replace(Regex(rf"\A{SPACE}*{_MARK}?"), ""),
            decoders.Replace(_MARK, " "),
        ]
    else:
        steps.append(decoders.Fuse())
        if spec.add_dummy_prefix:
            steps.append(decoders.Replace(Regex(rf"\A{SPACE}"), ""))
    return decoders.Sequence([*steps, decoders.Replace(SPACE, " ")])
