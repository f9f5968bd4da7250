"""Training texts made of those of the corpus: the beginning of one and the end of another, words for other words."""

from __future__ import annotations

import numpy as np

from textvae.data.config import AugmentConfig
from textvae.data.encoding import text_lengths
from textvae.data.noise import NumberedRows, words_of

# A text is spliced with one of this share of the corpus, the nearest that are no longer: so batches of like lengths
# stay such, and none gets more tokens than it was made for.
NEAR = 0.02


class AugmentedRows(NumberedRows):
    """Rows of which encoder and decoder get another text each time they are drawn, and nothing else of the row.

    What is drawn depends on the seed, the epoch and the row alone. Holds eight bytes a text.

    Args:
        rows: of a split, with `ids` and `length`.
        config: how often.
        tokenizer: for the words of the vocabulary.
        seed: of what is drawn.

    Source: Yun et al. 2019, arXiv 1905.04899 (CutMix: a part of one example in another's place, there of images); Wang
    et al. 2018, arXiv 1808.07512, section 3 (SwitchOut: words of both sides for any of the vocabulary).
    """

    def __init__(self, rows, config: AugmentConfig, tokenizer, seed: int):
        super().__init__(rows)
        self.config, self.seed, self.words = config, seed, words_of(tokenizer)
        self.by_length = np.argsort(text_lengths(rows), kind="stable").astype(np.int32)
        self.place = np.empty_like(self.by_length)
        self.place[self.by_length] = np.arange(len(rows), dtype=np.int32)
        self.near = max(1, int(NEAR * len(rows)))

    def __getitem__(self, number: int) -> dict:
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: list[int]) -> list[dict]:
        # Three numbers, since noise on the same draw has two: they are not the same random ones.
        randoms = [np.random.default_rng((self.seed, number, 1)) for number in numbers]
        rows = [number % len(self) for number in numbers]
        others = [self._other(row, random) for row, random in zip(rows, randoms, strict=True)]
        ids = [row["ids"] for row in self.rows.__getitems__(rows + others)]
        drawn = zip(numbers, ids[: len(rows)], ids[len(rows) :], randoms, strict=True)
        return [{"ids": self._text(first, other, random), "draw": number} for number, first, other, random in drawn]

    def _other(self, row: int, random: np.random.Generator) -> int:
        """A row to splice with; the row itself where there is to be no splice."""
        if random.random() >= self.config.splice:
            return row
        return int(self.by_length[max(0, self.place[row] - random.integers(self.near + 1))])

    def _text(self, first: list[int], other: list[int], random: np.random.Generator) -> list[int]:
        """Cut at the same share of both, so that it is no longer than the longer one."""
        share = random.random()
        cuts = [1 + int(share * (len(ids) - 2) + 0.5) for ids in (first, other)]
        words = np.array(first[1 : cuts[0]] + other[cuts[1] : -1], dtype=np.int64)
        if self.config.replace:
            words = np.where(
                random.random(len(words)) < self.config.replace, random.choice(self.words, len(words)), words
            )
        return [first[0], *words.tolist(), first[-1]]
