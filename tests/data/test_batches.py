"""Batches of like length."""

import numpy as np
import pytest

from textvae.data import batches
from textvae.data.batches import length_sorted_batches


@pytest.mark.parametrize("copies", [1, 7, 5000])
def test_batches_hold_every_text_once_and_stay_small(copies):
    lengths = np.random.default_rng(0).integers(1, 60, 3000)
    found = list(length_sorted_batches(lengths, copies))
    assert sorted(np.concatenate(found).tolist()) == list(range(3000))
    ordered = lengths[np.concatenate(found)]
    assert (np.diff(ordered) <= 0).all()
    for batch in found:
        assert len(batch) == 1 or len(batch) * (lengths[batch].max() + 1) * copies <= batches.TOKENS_AT_ONCE
