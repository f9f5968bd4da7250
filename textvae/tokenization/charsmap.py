"""The text normalizer of a SentencePiece model, carried over to the tokenizers library.

SentencePiece rewrites a text from left to right, at each place by the longest of its rules that fits. The `Precompiled`
normalizer of tokenizers reads the same rules but looks up whole graphemes of up to five bytes, and of these the
shortest rule that fits, so decomposed text (Korean, Japanese, Vietnamese, Greek) comes out otherwise. Here it is only
ever handed single characters; what SentencePiece composes is composed by NFC, kept by separators to where a rule says
so.
"""

from __future__ import annotations

import re
import struct
from collections import defaultdict

from tokenizers import Regex, normalizers

# Two unassigned control characters, which keep their neighbours from being composed or taken as one grapheme.
_BETWEEN, _WITHIN = "\ufff0", "\ufff1"
# What may be composed with, or is in one grapheme with, the character before it; the Korean vowels and finals too.
_EXTENDING = r"\p{M}\x{1160}-\x{11ff}\x{200c}\x{200d}\x{ff9e}\x{ff9f}\x{1f3fb}-\x{1f3ff}"


def read_charsmap(charsmap: bytes) -> dict[str, str]:
    """The rules of a precompiled map: what is replaced, and by what.

    Args:
        charsmap: `normalizer_spec.precompiled_charsmap` of a model: the size in bytes of a trie, the trie (a double
            array as darts-clone lays it out), and the replacements, each ended by a zero byte.
    """
    (size,) = struct.unpack_from("<I", charsmap)
    units = struct.unpack_from(f"<{size // 4}I", charsmap, 4)
    replacements = charsmap[4 + size :]
    children = defaultdict(list)
    for position, unit in enumerate(units):
        label = unit & 0x800000FF  # the top bit marks a value, which is no child
        if 0 < label < 256:
            children[position ^ label].append(position)
    rules = {}
    stack = [(0, b"")]
    while stack:
        position, key = stack.pop()
        unit = units[position]
        base = position ^ ((unit >> 10) << ((unit & 0x200) >> 6))
        if unit & 0x100:
            start = units[base] & 0x7FFFFFFF
            rules[key.decode()] = replacements[start : replacements.index(b"\0", start)].decode()
        stack.extend((child, key + bytes([units[child] & 0xFF])) for child in children[base])
    return rules


def charsmap_normalizers(charsmap: bytes) -> list[normalizers.Normalizer]:
    """Normalizers that, one after the other, do what a precompiled map does.

    Args:
        charsmap: as for `read_charsmap`.
    """
    rules = read_charsmap(charsmap)
    keys = [key for key in rules if len(key) > 1]
    precompiled = [
        normalizers.Replace(Regex(rf"(?<!\A)(?=[{_EXTENDING}])|\r\K(?=\n)"), _WITHIN),
        normalizers.Precompiled(charsmap),
        normalizers.Replace(_WITHIN, ""),
    ]
    if not keys:
        return precompiled
    composed = _composed(keys, rules)
    irregular = defaultdict(list)
    for key in keys:
        if composed[key] != rules[key]:
            irregular[-len(key), rules[key]].append(key)
    # A separator goes behind every match of several characters, and before all else that could be composed.
    second = char_class({key[1] for key in keys})
    later = char_class({char for key in keys for char in key[1:]})
    steps = [
        normalizers.Replace(Regex(rf"(?m)(?=.{second}){any_of(keys)}\K|(?<!\A)(?=[{_EXTENDING}]|{later})"), _BETWEEN),
        *(
            normalizers.Replace(Regex(any_of(found) + _BETWEEN), _BETWEEN + value + _BETWEEN)
            for (_, value), found in sorted(irregular.items())
        ),
    ]
    if any(composed[key] == rules[key] for key in keys):
        precompiled = [normalizers.NFC(), *precompiled, normalizers.NFC()]
    return [*steps, *precompiled, normalizers.Replace(_BETWEEN, "")]


def _composed(keys: list[str], rules: dict[str, str]) -> dict[str, str]:
    # What NFC, the rules for single characters and NFC again make of each key; in one go, since there are 200,000.
    nfc = normalizers.NFC().normalize_str
    single = str.maketrans({key: value for key, value in rules.items() if len(key) == 1})
    return dict(zip(keys, nfc(nfc(_BETWEEN.join(keys)).translate(single)).split(_BETWEEN), strict=True))


def char_class(chars: set[str]) -> str:
    """A regular expression for one of these characters."""
    return "[" + "".join(map(_escape, sorted(chars))) + "]"


def any_of(strings: list[str]) -> str:
    """A regular expression for the longest of these strings that fits, without trying them one by one."""
    tree = {}
    for string in strings:
        node = tree
        for char in string:
            node = node.setdefault(char, {})
        node[""] = {}
    return _pattern(tree)


def _pattern(node: dict) -> str:
    # Characters that are followed by the same share one class.
    followed = defaultdict(set)
    for char, child in node.items():
        if char:
            followed[_pattern(child)].add(char)
    if not followed:
        return ""
    alternatives = "|".join(char_class(chars) + rest for rest, chars in followed.items())
    return f"(?:{alternatives})" + ("?" if "" in node else "")


def _escape(char: str) -> str:
    return re.escape(char) if char < "\x80" else rf"\x{{{ord(char):x}}}"
