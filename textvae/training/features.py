"""What a frozen encoder makes of each text, computed once and kept on disk. Shapes: N texts, H features."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
import transformers
from datasets import DatasetDict, Features, List, Value

from textvae.data.batches import length_sorted_batches
from textvae.data.collator import pad
from textvae.encoders import pooling, pretrained
from textvae.hardware import autocast
from textvae.layers import rotation
from textvae.modeling import TextVAEModel
from textvae.weights import fingerprint

ROWS = 4096


def with_summaries(splits: DatasetDict, model: TextVAEModel, device: torch.device, bf16: bool) -> DatasetDict:
    """Adds `summary` (H numbers a text) to the training and validation texts where the encoder is fixed.

    A batch then brings it along, and the encoder need not run again. The cache knows it by the texts, the encoder's
    weights, the precision, and what computes it.

    Args:
        splits: with `encoder_ids`.
        model: its encoder tells by `is_fixed` whether its summary of a text never changes.
        device: where the encoder runs.
        bf16: precision of matrix products.

    Returns:
        The splits, as they were where the encoder is trained.
    """
    if not model.config.latent_size or not getattr(model.encoder, "is_fixed", False):
        return splits
    encoder, pad_id = model.encoder.eval().to(device), model.config.encoder_pad_token_id
    config = {key: value for key, value in model.config.encoder.items() if key != "beside"}
    code = [Path(part.__file__).read_bytes() for part in (pretrained, pooling, rotation)]
    made_by = f"{transformers.__version__} {hashlib.sha256(b''.join(code)).hexdigest()}"
    known_by = f"{config} {bf16} {fingerprint(encoder.backbone, encoder.lacking)} {made_by}"

    def summarise(texts: list[list[int]]) -> dict[str, np.ndarray]:
        summaries = np.empty((len(texts), encoder.summary_size), dtype=np.float32)
        for index in length_sorted_batches([len(ids) for ids in texts]):
            ids, mask = pad([texts[row] for row in index], pad_id)
            with torch.no_grad(), autocast(device, bf16):
                summary = encoder(ids.to(device), mask.to(device))
            summaries[index] = summary.float().cpu().numpy()
        return {"summary": summaries}

    for name in ("train", "validation"):
        split = splits[name]
        column = {"summary": List(Value("float32"), length=encoder.summary_size)}
        splits[name] = split.map(
            summarise,
            input_columns="encoder_ids",
            batched=True,
            batch_size=ROWS,
            features=Features({**split.features, **column}),
            new_fingerprint=hashlib.sha256(f"{split._fingerprint} {known_by}".encode()).hexdigest()[:32],
            desc=f"Encoding {name}",
        )
    return splits
