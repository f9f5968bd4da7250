"""One loader: the Hub, local files or a sample corpus in; train, validation and test splits of texts out."""

from __future__ import annotations

import glob
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset, DatasetDict, load_dataset
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

from textvae.data.config import DataConfig
from textvae.data.files import SUFFIXES, columns_of, read_texts
from textvae.validation import suggest

logger = logging.getLogger(__name__)

SAMPLES = Path(__file__).parent / "samples"
SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}


@dataclass
class Corpus:
    """Texts by split, and what the loader did to them.

    Args:
        splits: train, validation and test, each with `text` and perhaps `label`.
        notices: sentences for the user: splits made, texts dropped, duplicates found.
        counts: the same as numbers.
    """

    splits: DatasetDict
    notices: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def note(self, sentence: str) -> None:
        """Logs and keeps a notice."""
        logger.info(sentence)
        self.notices.append(sentence)


def load_corpus(config: DataConfig, label_is_optional: bool = False) -> Corpus:
    """Loads a corpus.

    Args:
        config: where it is and what counts as one text.
        label_is_optional: a missing label column is a notice, not an error (the column was named by a recipe for
            another corpus).

    Returns:
        Splits train, validation and test. A split that the corpus lacks is cut from train with a seed.

    Raises:
        ValueError: one line that says what is wrong, where, and what to do.
    """
    notices: list[str] = []
    files = find_files(config.source)
    if files is None:
        splits = _load_hub(config, label_is_optional, notices)
    else:
        label_column = config.label_column
        if label_column and label_is_optional and label_column not in columns_of(files["train"][0]):
            notices.append(f"no column {label_column!r} in {files['train'][0]}: going on without labels")
            label_column = None
        if label_column and files["train"][0].suffix == ".txt":
            raise ValueError(f"data.label_column: a .txt file has no column {label_column!r}; set it to null")
        splits = {
            name: _from_files(paths, config.text_column, label_column, config.unit) for name, paths in files.items()
        }
    corpus = Corpus(DatasetDict())
    for notice in notices:
        corpus.note(notice)
    for name, split in splits.items():
        kept = split.filter(_is_text, input_columns="text", batched=True, desc=f"Reading {name}")
        if len(kept) < len(split):
            corpus.note(f"{name}: {len(split) - len(kept)} blank texts dropped")
        corpus.counts[f"{name}_blank"] = len(split) - len(kept)
        if not len(kept):
            where = ", ".join(str(path) for path in files[name]) if files else config.source
            raise ValueError(f"{where}: no texts in it")
        corpus.splits[name] = kept
    _make_missing_splits(corpus, config)
    _count_duplicates(corpus)
    return corpus


def find_files(source: str) -> dict[str, list[Path]] | None:
    """Files of each split, or None for a name on the Hub.

    Raises:
        ValueError: an unknown sample, a path that does not exist, a folder without a train file.
    """
    if source.startswith("sample:"):
        name = source.removeprefix("sample:")
        known = sorted(path.stem for path in SAMPLES.glob("*.jsonl"))
        if name not in known:
            raise ValueError(f"data.source: no sample corpus {name!r}; {suggest(name, known)}")
        return {"train": [SAMPLES / f"{name}.jsonl"]}
    path = Path(source).expanduser()
    if path.is_dir():
        return _find_in_folder(path)
    if path.is_file():
        paths = [path]
    else:
        paths = [Path(match) for match in sorted(glob.glob(str(path), recursive=True)) if Path(match).is_file()]
    if not paths:
        if path.suffix.lower() in SUFFIXES or source.startswith((".", "/", "~")) or any(c in source for c in "*?["):
            raise ValueError(f"data.source: no such file or folder: {source}")
        return None
    for path in paths:
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"data.source: {path} has an unknown ending; known: {', '.join(SUFFIXES)}")
    return {"train": paths}


def _find_in_folder(folder: Path) -> dict[str, list[Path]]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    found: dict[str, list[Path]] = {}
    for split, names in SPLIT_NAMES.items():
        paths = [path for path in files if path.stem.lower().replace("_", "-").split("-")[0] in names]
        if paths:
            found[split] = paths
    if "train" not in found:
        raise ValueError(
            f"data.source: no train file in folder {folder}; wanted train.txt (or {', '.join(SUFFIXES[1:])}), and "
            "perhaps valid and test beside it"
        )
    return found


def _rows(paths: list[str], stamps: list, text_column: str, label_column: str | None, unit: str) -> Iterator[dict]:
    for path in paths:
        yield from read_texts(Path(path), text_column, label_column, unit)


def _from_files(paths: list[Path], text_column: str, label_column: str | None, unit: str) -> Dataset:
    # Size and time of the files are part of the key under which the rows are cached.
    stamps = [(path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    arguments = {
        "paths": [str(path.resolve()) for path in paths],
        "stamps": stamps,
        "text_column": text_column,
        "label_column": label_column,
        "unit": unit,
    }
    if not any(size for size, _ in stamps):
        raise ValueError(f"{', '.join(str(path) for path in paths)}: the file is empty")
    try:
        return Dataset.from_generator(_rows, gen_kwargs=arguments)
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, ValueError):
            raise error.__cause__ from None
        raise


def _load_hub(config: DataConfig, label_is_optional: bool, notices: list[str]) -> dict[str, Dataset]:
    try:
        loaded = load_dataset(config.source, config.config, revision=config.revision)
    except DatasetNotFoundError:
        raise ValueError(
            f"data.source: {config.source!r} is neither a file, a folder nor a data set on the Hugging Face Hub"
        ) from None
    except (ValueError, OSError, RuntimeError) as error:
        raise ValueError(f"data.source: cannot load {config.source!r} from the Hub: {_one_line(error)}") from None
    if config.split:
        if config.split not in loaded:
            raise ValueError(f"data.split: no split {config.split!r}; {suggest(config.split, list(loaded))}")
        chosen = {"train": loaded[config.split]}
    else:
        chosen = {split: loaded[name] for split, names in SPLIT_NAMES.items() for name in names if name in loaded}
        if "train" not in chosen:
            raise ValueError(f"data.source: {config.source!r} has no train split; name one with data.split")
    label_column = config.label_column
    for split in chosen.values():
        if config.text_column not in split.column_names:
            raise ValueError(
                f"data.text_column: {config.source!r} has no column {config.text_column!r}; "
                f"{suggest(config.text_column, split.column_names)}"
            )
        if label_column and label_column not in split.column_names:
            if not label_is_optional:
                raise ValueError(
                    f"data.label_column: {config.source!r} has no column {label_column!r}; "
                    f"{suggest(label_column, split.column_names)}"
                )
            notices.append(f"no column {label_column!r} in {config.source}: going on without labels")
            label_column = None
    return {name: _columns(split, config.text_column, label_column, config.unit) for name, split in chosen.items()}


def _columns(split: Dataset, text_column: str, label_column: str | None, unit: str) -> Dataset:
    feature = split.features[label_column] if label_column else None

    def texts(batch: dict) -> dict:
        from textvae.data.files import paragraphs

        out: dict[str, list] = {"text": []} | ({"label": []} if label_column else {})
        for row, text in enumerate(batch[text_column]):
            parts = paragraphs((text or "").split("\n")) if unit == "paragraph" else [text or ""]
            for part in parts:
                out["text"].append(part)
                if label_column:
                    label = batch[label_column][row]
                    out["label"].append(feature.int2str(label) if hasattr(feature, "int2str") else str(label))
        return out

    return split.map(texts, batched=True, remove_columns=split.column_names)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _is_text(texts: list[str]) -> list[bool]:
    return [bool(text.strip()) for text in texts]


def _make_missing_splits(corpus: Corpus, config: DataConfig) -> None:
    made = []
    for name, size in (("validation", config.validation_size), ("test", config.test_size)):
        if name in corpus.splits:
            continue
        train = corpus.splits["train"]
        held_out = max(1, round(size * len(train)))
        if len(train) - held_out < 1:
            raise ValueError(f"{config.source}: {len(train)} texts are too few to put a {name} split aside")
        parts = train.train_test_split(test_size=held_out, seed=config.seed)
        corpus.splits["train"], corpus.splits[name] = parts["train"], parts["test"]
        made.append(f"{name} ({held_out} texts)")
    if made:
        corpus.note(f"the corpus has no {' and '.join(made)}: cut from train with seed {config.seed}")


def _count_duplicates(corpus: Corpus) -> None:
    held_out = {name: set(corpus.splits[name]["text"]) for name in ("validation", "test")}
    shared = {name: set() for name in held_out}
    for batch in corpus.splits["train"].iter(batch_size=10_000):
        for name, texts in held_out.items():
            shared[name].update(texts.intersection(batch["text"]))
    for name, texts in shared.items():
        count = sum(text in texts for text in corpus.splits[name]["text"]) if texts else 0
        corpus.counts[f"{name}_in_train"] = count
        if count:
            corpus.note(f"{count} of {len(corpus.splits[name])} {name} texts also stand in train")
