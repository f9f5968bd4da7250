"""Metrics of generated text, all in time linear in the number of words.

A text is cut into units: words between spaces or, in Chinese, characters.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

CJK = ("\u3400", "\u9fff")


def is_chinese(texts: Iterable[str]) -> bool:
    """Whether most letters of the texts are Chinese characters."""
    letters = [character for text in texts for character in text if character.isalpha()]
    return bool(letters) and sum(CJK[0] <= c <= CJK[1] for c in letters) > len(letters) / 2


def split_units(text: str, chinese: bool) -> list[str]:
    """Words or, in Chinese, characters."""
    return [character for character in text if not character.isspace()] if chinese else text.split()


def set_apart(texts: Sequence[str]) -> str:
    """Texts below each other; where one has several lines, with a blank line between them."""
    return ("\n\n" if any("\n" in text for text in texts) else "\n").join(texts)


def bleu(hypotheses: Sequence[str], references: Sequence[str], tokenize: str) -> tuple[float, str]:
    """Corpus BLEU by sacrebleu.

    Args:
        hypotheses, references: one text each.
        tokenize: sacrebleu's tokenizer: 13a, none (a corpus that is tokenised already) or zh.

    Returns:
        BLEU on the scale 0-100, and sacrebleu's signature.

    Source: Papineni et al. 2002; Post 2018, arXiv 1804.08771.
    """
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize=tokenize, force=True)
    score = metric.corpus_score(list(hypotheses), [list(references)])
    return score.score, str(metric.get_signature())


def self_bleu(texts: Sequence[str], chinese: bool, order: int = 4) -> float:
    """How much samples repeat each other: corpus BLEU of each sample against all the others.

    Counts of n-grams are clipped at the highest count in any other sample, which two maxima for each n-gram give
    without comparing pairs. The brevity penalty is 1: the closest of many references is as long as the sample.

    Args:
        texts: samples.
        chinese: units are characters.
        order: longest n-gram.

    Returns:
        0-100; high means repetitive.

    Source: Zhu et al. 2018 (Texygen), arXiv 1802.01886.
    """
    units = [split_units(text, chinese) for text in texts]
    precisions = []
    for n in range(1, order + 1):
        counts = [Counter(ngrams(row, n)) for row in units]
        first: dict[tuple, tuple[int, int]] = {}  # highest count and whose it is
        second: Counter = Counter()  # highest count of anyone else
        for row, counter in enumerate(counts):
            for gram, count in counter.items():
                best, owner = first.get(gram, (0, -1))
                if count > best:
                    first[gram], second[gram] = (count, row), best
                elif owner != row:
                    second[gram] = max(second[gram], count)
        matched = total = 0
        for row, counter in enumerate(counts):
            for gram, count in counter.items():
                best, owner = first[gram]
                matched += min(count, second[gram] if owner == row else best)
                total += count
        if not matched:
            return 0.0
        precisions.append(matched / total)
    return 100 * math.exp(sum(map(math.log, precisions)) / order)


def distinct(texts: Sequence[str], chinese: bool, n: int) -> float:
    """Different n-grams over all n-grams.

    Source: Li et al. 2016, arXiv 1510.03055, section 5.
    """
    grams = [gram for text in texts for gram in ngrams(split_units(text, chinese), n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def ngrams(units: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """The n-grams of a row of units."""
    return list(zip(*(units[start:] for start in range(n)), strict=False))


def token_accuracy(references: Sequence[Sequence[int]], hypotheses: Sequence[Sequence[int]]) -> float:
    """Share of the reference tokens (EOS counted) that stand at the same place in the hypothesis."""
    right = sum(a == b for ref, hyp in zip(references, hypotheses, strict=True) for a, b in zip(ref, hyp, strict=False))
    return right / sum(map(len, references))


def nearest_lines(texts: Sequence[str], corpus: Iterable[Sequence[str]], chinese: bool) -> list[tuple[float, str]]:
    """The line of a corpus that shares most words with each text.

    Args:
        texts: samples.
        corpus: batches of lines.
        chinese: units are characters.

    Returns:
        For each text the overlap (Jaccard index of the sets of units, 0-1) and the line.
    """
    wanted = [frozenset(split_units(text, chinese)) for text in texts]
    best: list[tuple[float, str]] = [(0.0, "")] * len(texts)
    for batch in corpus:
        for line in batch:
            units = frozenset(split_units(line, chinese))
            for row, want in enumerate(wanted):
                shared = len(want & units)
                if shared and shared / (len(want) + len(units) - shared) > best[row][0]:
                    best[row] = (shared / (len(want) + len(units) - shared), line)
    return best
