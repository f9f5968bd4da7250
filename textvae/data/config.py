"""Where the texts come from and what counts as one text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from textvae.validation import Section


class DataConfig(Section):
    """The corpus.

    Args:
        source: `sample:NAME`, a file, a glob, a folder with train, valid and test files, or a name on the Hugging
            Face Hub.
        config: configuration of a Hub dataset.
        split: the one split of a Hub dataset to use; validation and test are then made from it.
        revision: revision of a Hub dataset.
        text_column: column that holds the text (not used for .txt files).
        label_column: column that holds a label, or null.
        unit: what is one text. In a .txt file a line, a paragraph (blocks between blank lines) or the whole file;
            elsewhere a row is one text, and `paragraph` splits it at blank lines.
        max_length: longest text in tokens, bos and eos not counted; null for no limit.
        overlong: what happens to longer training texts: truncate or drop. Validation and test are never changed.
        validation_size: share of the texts put aside when the corpus has no validation split.
        test_size: share of the texts put aside when the corpus has no test split.
        seed: of those splits.
    """

    source: str = "sample:headlines"
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    text_column: str = "text"
    label_column: str | None = None
    unit: Literal["line", "paragraph", "document"] = "line"
    max_length: int | None = Field(None, ge=1)
    overlong: Literal["truncate", "drop"] = "truncate"
    validation_size: float = Field(0.05, gt=0, lt=0.5)
    test_size: float = Field(0.05, gt=0, lt=0.5)
    seed: int = 0
