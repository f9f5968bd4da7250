"""Batches of sentences of like length, in an order that depends on the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

# Batches whose sentences are sorted together: enough for little padding, few enough that batches stay random.
WINDOW = 100


class LengthGroupedSampler(Sampler[int]):
    """Shuffles, sorts windows of 100 batches by length, and shuffles the batches; the rest comes last.

    No generator is consumed, so dropout and latent samples are the same whatever the data, and a resumed run sees
    the batches that it would have seen. Holds four bytes a sentence, and eight more while an epoch runs.

    Args:
        lengths: tokens of each sentence.
        batch_size: sentences that will make a batch.
        seed: of the order.
        numbered: ask for row i in epoch e by the number i + e * rows, as `NumberedRows` wants it.
    """

    def __init__(self, lengths, batch_size: int, seed: int, numbered: bool = False):
        self.numbered = numbered
        self.lengths = np.asarray(lengths, dtype=np.int32)
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self.seed, self.epoch))
        order = random.permutation(len(self.lengths))
        window = WINDOW * self.batch_size
        for start in range(0, len(order), window):
            part = order[start : start + window]
            order[start : start + window] = part[np.argsort(self.lengths[part], kind="stable")]
        batches = len(order) // self.batch_size
        if self.numbered:
            order += self.epoch * len(order)
        for batch in random.permutation(batches):
            yield from order[batch * self.batch_size : (batch + 1) * self.batch_size].tolist()
        yield from order[batches * self.batch_size :].tolist()
