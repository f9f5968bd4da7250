"""Batches of sentences, of like length or at random, in an order that depends on the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

# Batches whose sentences are sorted together: enough for little padding, few enough that batches stay random.
WINDOW = 100


class LengthGroupedSampler(Sampler[int]):
    """Shuffles, sorts windows of 100 batches by length, and shuffles the batches; a rest, at random, comes last.

    Such a batch is no random draw of the corpus: what is computed of it as a whole (the statistics of a BatchNorm, a
    discrepancy of distributions) is that of its length. For these, nothing is sorted.

    No generator is consumed, so dropout and latent samples are the same whatever the data, and a resumed run sees
    the batches that it would have seen. Holds four bytes a sentence, and four more while an epoch runs.

    Args:
        lengths: tokens of each sentence.
        batch_size: sentences that will make a batch.
        seed: of the order.
        numbered: ask for row i in epoch e by the number i + e * rows, as `NumberedRows` wants it.
        by_length: whether windows are sorted.
    """

    def __init__(self, lengths, batch_size: int, seed: int, numbered: bool = False, by_length: bool = True):
        self.numbered, self.by_length = numbered, by_length
        self.lengths = np.asarray(lengths, dtype=np.int32)
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self.seed, self.epoch))
        batches = len(self) // self.batch_size
        # The rest, a batch that is smaller, is not sorted along: it would be the longest ones of a window each time.
        order = self._sorted_in_windows(random, batches * self.batch_size)
        order = self._numbers(order, self.epoch)
        for batch in random.permutation(batches):
            yield from order[batch * self.batch_size : (batch + 1) * self.batch_size].tolist()
        yield from order[batches * self.batch_size :].tolist()

    def _sorted_in_windows(self, random: np.random.Generator, end: int) -> np.ndarray:
        order = random.permutation(np.arange(len(self.lengths), dtype=np.int32))
        window = WINDOW * self.batch_size
        for start in range(0, end, window) if self.by_length else ():
            part = order[start : min(start + window, end)]
            order[start : start + len(part)] = part[np.argsort(self.lengths[part], kind="stable")]
        return order

    def _numbers(self, order: np.ndarray, epoch: int) -> np.ndarray:
        return order + np.int64(epoch * len(order)) if self.numbered else order


class TokenBatches(LengthGroupedSampler):
    """The same order, cut into batches of at most so many tokens, padding counted: the longer the sentences the fewer.

    It yields batches and not rows. Passes over the sentences differ by a few batches, while a trainer counts on epochs
    of one length, to find the place where it was broken off: so an epoch is as many batches as the first pass has, and
    begins wherever in a pass the one before it has ended.

    Args:
        lengths: tokens of each sentence.
        tokens: of a batch; a longer sentence is a batch of its own.
        seed, numbered, by_length: as for LengthGroupedSampler.
    """

    def __init__(self, lengths, tokens: int, seed: int, numbered: bool = False, by_length: bool = True):
        mean = max(1.0, float(np.mean(lengths)))
        super().__init__(lengths, max(1, int(tokens / mean)), seed, numbered, by_length)
        self.tokens = tokens
        self._planned: tuple[int, tuple] | None = None  # the last pass that was worked out
        self._begins = [0]  # batches before each pass, as far as passes were worked out

    def __len__(self) -> int:
        return self._pass_from(1)

    def __iter__(self) -> Iterator[list[int]]:
        first, left, number = self.epoch * len(self), len(self), 0
        while self._pass_from(number + 1) <= first:
            number += 1
        while left:
            order, cuts, turns = self._plan(number)
            ends = np.append(cuts[1:], len(order))
            order = self._numbers(order, number)
            begin = max(0, first - self._pass_from(number))
            turns = turns[begin : begin + left]
            for batch in turns:
                yield order[cuts[batch] : ends[batch]].tolist()
            left -= len(turns)
            number += 1

    def _pass_from(self, number: int) -> int:
        """Batches before a pass over the sentences."""
        while len(self._begins) <= number:
            self._begins.append(self._begins[-1] + len(self._plan(len(self._begins) - 1)[1]))
        return self._begins[number]

    def _plan(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of a pass: rows in order, where batches begin, and in which turn they come."""
        if self._planned is None or self._planned[0] != number:
            random = np.random.default_rng((self.seed, number))
            order = self._sorted_in_windows(random, len(self.lengths))
            cuts = self._cuts(order)
            self._planned = (number, (order, cuts, random.permutation(len(cuts))))
        return self._planned[1]

    def _cuts(self, order: np.ndarray) -> np.ndarray:
        """Where batches begin."""
        cuts, window = [], WINDOW * self.batch_size
        for start in range(0, len(order), window):
            lengths = self.lengths[order[start : start + window]].astype(np.int64)
            first = 0
            while first < len(lengths):
                cuts.append(start + first)
                rest = lengths[first : first + self.tokens]  # no batch has more sentences than tokens
                sizes = np.maximum.accumulate(rest) * np.arange(1, len(rest) + 1)  # the longest sets the width
                first += max(1, int(np.searchsorted(sizes, self.tokens, side="right")))
        return np.array(cuts)
