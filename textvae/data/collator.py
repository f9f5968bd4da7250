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
        encoder_pad_id: that of an encoder with a tokenizer of its own, whose rows have `encoder_ids` as well.
        noise: on the encoder's ids, for rows with `draw`; None for none.
    """

    def __init__(self, pad_id: int, encoder_pad_id: int | None = None, noise: Noise | None = None):
        self.pad_id, self.encoder_pad_id, self.noise = pad_id, encoder_pad_id, noise

    @classmethod
    def of(cls, config, noise: Noise | None = None) -> Collator:
        """The one for the batches of a model with this TextVAEConfig."""
        return cls(config.pad_token_id, config.encoder_pad_token_id, noise)

    def __call__(self, rows: list[dict]) -> dict[str, Tensor]:
        """B rows -> encoder_input_ids, encoder_attention_mask, input_ids, attention_mask, each (B,T).

        Under noise the encoder's two may be narrower. Rows with the `summary` of a fixed encoder add encoder_summary
        (B,H), which the model then reads in place of them.
        """
        ids, mask = pad([row["ids"] for row in rows], self.pad_id)
        own = self.encoder_pad_id is not None
        if own or self.noise:
            rows_read = [row["encoder_ids" if own else "ids"] for row in rows]
            if self.noise:
                rows_read = [self.noise(read, row["draw"]) for read, row in zip(rows_read, rows, strict=True)]
            encoder_ids, encoder_mask = pad(rows_read, self.encoder_pad_id if own else self.pad_id)
        else:
            encoder_ids, encoder_mask = ids.clone(), mask.clone()
        batch = {
            "encoder_input_ids": encoder_ids,
            "encoder_attention_mask": encoder_mask,
            "input_ids": ids,
            "attention_mask": mask,
        }
        if "summary" in rows[0]:
            batch["encoder_summary"] = torch.tensor([row["summary"] for row in rows])
        return batch
