"""Rows to a batch. Shapes: B sentences, T tokens."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from textvae.data.noise import Noise


def pad(sequences: list[list[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Pads ids on the right.

    Args:
        sequences: B lists of ids.
        pad_id: what fills the rest.

    Returns:
        ids (B,T) and mask (B,T), both int64, the mask 1 for tokens.
    """
    width = max(len(sequence) for sequence in sequences)
    ids = np.full((len(sequences), width), pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


class Collator:
    """Makes the encoder's and the decoder's inputs, apart from each other, from rows with `ids`.

    Args:
        pad_id: id of the padding.
        noise: on the encoder's ids, for rows with `draw`; None for none.
    """

    def __init__(self, pad_id: int, noise: Noise | None = None):
        self.pad_id, self.noise = pad_id, noise

    def __call__(self, rows: list[dict]) -> dict[str, Tensor]:
        """B rows -> encoder_input_ids, encoder_attention_mask, input_ids, attention_mask, each (B,T).

        Under noise the encoder's two may be narrower.
        """
        ids, mask = pad([row["ids"] for row in rows], self.pad_id)
        encoder_ids, encoder_mask = ids.clone(), mask.clone()
        if self.noise:
            encoder_ids, encoder_mask = pad([self.noise(row["ids"], row["draw"]) for row in rows], self.pad_id)
        return {
            "encoder_input_ids": encoder_ids,
            "encoder_attention_mask": encoder_mask,
            "input_ids": ids,
            "attention_mask": mask,
        }
