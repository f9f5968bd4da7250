"""Noise on what the encoder reads: words dropped, blanked, swapped for others, shuffled."""

from __future__ import annotations

import numpy as np
from torch.utils.data import Dataset

from textvae.data.config import NoiseConfig


def words_of(tokenizer) -> np.ndarray:
    """The ids of a vocabulary, those of special tokens left out."""
    return np.array(sorted(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids)))


class Noise:
    """Makes noisy copies of ids.

    Args:
        config: how much.
        tokenizer: for the mask token and the words of the vocabulary.
        seed: of the noise.

    Raises:
        ValueError: the tokenizer has no mask token.

    Source: Shen et al. 2020, arXiv 1905.12777, section 3 (denoising adversarial autoencoder); the shuffling of Lample
    et al. 2018, arXiv 1711.00043, section 2.3.
    """

    def __init__(self, config: NoiseConfig, tokenizer, seed: int):
        if config.blank and tokenizer.mask_token_id is None:
            raise ValueError("data.noise.blank: the tokenizer has no mask token; set it to 0 and use drop instead")
        self.config, self.seed, self.mask_id = config, seed, tokenizer.mask_token_id
        self.words, self.special = words_of(tokenizer), set(tokenizer.all_special_ids)

    def __call__(self, ids: list[int], draw: int) -> list[int]:
        """A noisy copy.

        Args:
            ids: of a text; special tokens at its ends, which not every pretrained encoder has, stay.
            draw: the number of the noise: the same one gives the same copy.
        """
        config, random = self.config, np.random.default_rng((self.seed, draw))
        first = [i for i in ids[:1] if i in self.special]
        last = [i for i in ids[len(first) :][-1:] if i in self.special]
        words = np.array(ids[len(first) : len(ids) - len(last)], dtype=np.int64)
        if config.shuffle:
            words = words[np.argsort(np.arange(len(words)) + random.uniform(0, config.shuffle + 1, len(words)))]
        if config.drop:
            kept = random.random(len(words)) >= config.drop
            if not (kept.any() or first or last):  # something has to be read
                kept[:1] = True
            words = words[kept]
        if config.blank:
            words = np.where(random.random(len(words)) < config.blank, self.mask_id, words)
        if config.swap:
            others = random.choice(self.words, len(words))
            words = np.where(random.random(len(words)) < config.swap, others, words)
        return [*first, *words.tolist(), *last]


class NumberedRows(Dataset):
    """Rows that know how often they have been drawn, so that noise depends on neither worker nor batch.

    A sampler asks for row i in epoch e by the number i + e * len(rows), which the row holds as `draw`.

    Args:
        rows: of a split, with `ids`.
    """

    def __init__(self, rows):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict:
        return {**self.rows[number % len(self)], "draw": number}

    def __getitems__(self, numbers: list[int]) -> list[dict]:
        rows = self.rows.__getitems__([number % len(self) for number in numbers])
        return [{**row, "draw": number} for row, number in zip(rows, numbers, strict=True)]
