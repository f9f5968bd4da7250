"""Rows to batches, exact values."""

import pytest
import torch

from textvae.data.collator import Collator, pad


@pytest.mark.parametrize(
    ("rows", "ids", "mask"),
    [
        ([[1, 2]], [[1, 2]], [[1, 1]]),
        (
            [[1, 5, 2], [1, 2], [1, 6, 7, 2]],
            [[1, 5, 2, 9], [1, 2, 9, 9], [1, 6, 7, 2]],
            [[1] * 3 + [0], [1, 1, 0, 0], [1] * 4],
        ),
        # The id of the padding is no padding where it stands in a text.
        ([[9, 9], [9]], [[9, 9], [9, 9]], [[1, 1], [1, 0]]),
    ],
)
def test_pad(rows, ids, mask):
    for tensor, expected in zip(pad(rows, 9), (ids, mask), strict=True):
        assert torch.equal(tensor, torch.tensor(expected))
        assert tensor.dtype == torch.int64


def test_collator_makes_both_inputs_of_ids_alone():
    rows = [{"ids": [1, 5, 2], "text": "x", "length": 2}, {"ids": [1, 2], "text": "", "length": 1}]
    batch = Collator(0)(rows)
    ids, mask = pad([row["ids"] for row in rows], 0)
    assert batch.keys() == {"encoder_input_ids", "encoder_attention_mask", "input_ids", "attention_mask"}
    for name, tensor in batch.items():
        assert torch.equal(tensor, ids if name.endswith("ids") else mask)


def test_what_is_done_to_the_input_of_one_does_not_reach_the_other():
    batch = Collator(0)([{"ids": [1, 5, 2]}])
    batch["input_ids"][:] = 3
    batch["attention_mask"][:] = 0
    assert batch["encoder_input_ids"].tolist() == [[1, 5, 2]]
    assert batch["encoder_attention_mask"].tolist() == [[1, 1, 1]]
