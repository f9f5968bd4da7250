"""Where the texts come from and what counts as one text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from textvae.validation import Section


class NoiseConfig(Section):
    """Noise on the encoder's input of training texts, in this order; bos and eos stay.

    Args:
        shuffle: words move by at most this many places; 0 leaves their order.
        drop: probability of leaving a word out.
        blank: probability of the mask token in a word's place.
        swap: probability of another word of the vocabulary in a word's place, any with the same probability.
    """

    shuffle: int = Field(0, ge=0)
    drop: float = Field(0.0, ge=0, lt=1)
    blank: float = Field(0.0, ge=0, le=1)
    swap: float = Field(0.0, ge=0, le=1)

    @property
    def is_on(self) -> bool:
        """Whether there is any."""
        return any(self.model_dump().values())


class AugmentConfig(Section):
    """Training texts that are made anew each time one is drawn, for encoder and decoder alike.

    More texts than a corpus has, for models that are to copy any text: an autoencoder learns fewer by heart. What a
    model samples is like what it was trained on, so a language model, or a VAE of a low rate, has no use for it.

    Args:
        splice: probability that a text is the beginning of the one drawn and the end of another of like length, cut
            between tokens at the same share of both.
        replace: probability of another word of the vocabulary in a word's place, any with the same probability.
    """

    splice: float = Field(0.0, ge=0, le=1)
    replace: float = Field(0.0, ge=0, lt=1)

    @property
    def is_on(self) -> bool:
        """Whether there is any."""
        return any(self.model_dump().values())


class DataConfig(Section):
    """The corpus.

    Args:
        source: `sample:NAME`; a file (txt, csv, tsv, json, jsonl, parquet); a folder or a glob of files, whose names
            tell train, validation (valid, val, dev) and test (a folder may hold folders of these names; a glob that
            finds other files as well is all training texts); or a name on the Hugging Face Hub.
        config: configuration of a Hub dataset.
        split: the one split of a Hub dataset to use, or a part of it such as train[:10%]; validation and test are
            then made from it.
        revision: revision of a Hub dataset.
        text_column: column that holds the text (not used for .txt files).
        label_column: column that holds a label, or null.
        label_is_optional: go on without labels where that column is missing. Set when the source is overridden and
            the label column is not: the recipe named it for another corpus.
        unit: what is one text. In a .txt file a line, a paragraph (blocks between blank lines) or the whole file;
            elsewhere a row is one text, and `paragraph` splits it at blank lines.
        max_length: longest text in tokens, bos and eos not counted; null for no limit.
        overlong: what happens to longer training texts: truncate or drop. Validation and test are never changed.
        validation_size: share of the texts put aside when the corpus has no validation split, 10,000 at most.
        test_size: share of the texts put aside when the corpus has no test split, 10,000 at most.
        seed: of those splits.
        augment: training texts spliced, words replaced; for encoder and decoder alike.
        noise: on what the encoder reads of training texts; the decoder has to give the texts back as they were.
    """

    source: str = Field("sample:headlines", min_length=1)
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    text_column: str = Field("text", min_length=1)
    label_column: str | None = None
    label_is_optional: bool = False
    unit: Literal["line", "paragraph", "document"] = "line"
    max_length: int | None = Field(None, ge=1)
    overlong: Literal["truncate", "drop"] = "truncate"
    validation_size: float = Field(0.05, gt=0, lt=0.5)
    test_size: float = Field(0.05, gt=0, lt=0.5)
    seed: int = Field(0, ge=0)
    augment: AugmentConfig = AugmentConfig()
    noise: NoiseConfig = NoiseConfig()
