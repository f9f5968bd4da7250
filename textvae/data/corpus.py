"""One loader: the Hub, local files or a sample corpus in; train, validation and test splits of texts out."""

from __future__ import annotations

import glob
import hashlib
import logging
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, load_dataset

from textvae.data import files
from textvae.data.config import DataConfig
from textvae.data.files import SUFFIXES, columns_of, read_texts, split_into_units
from textvae.data.storage import cut, remembered, store, texts_at_once
from textvae.validation import one_line, suggest

logger = logging.getLogger(__name__)

SAMPLES = Path(__file__).parent / "samples"
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
# Splits that are compared.
PAIRS = (("validation", "train"), ("test", "train"), ("test", "validation"))
# Texts that a split which is cut from train holds at most: more tell nothing more, and take longer to evaluate.
MOST_PUT_ASIDE = 10_000
Stored = tuple[Dataset, int]


@dataclass
class Corpus:
    """Texts by split, and what the loader did to them.

    Args:
        splits: train, validation and test, each with `text` (stripped, not blank) and perhaps `label`, on disk.
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


def load_corpus(config: DataConfig) -> Corpus:
    """Loads a corpus.

    Args:
        config: where it is and what counts as one text.

    Returns:
        Splits train, validation and test. A split that the corpus lacks is cut from train with a seed.

    Raises:
        ValueError: one line that says what is wrong, where, and what to do.
    """
    corpus = Corpus(DatasetDict())
    try:
        paths = find_files(config.source)
        stored = _load_hub(config, corpus) if paths is None else _load_files(config, paths, corpus)
        for name in (name for name in SPLIT_NAMES if name in stored):
            corpus.splits[name], blank = stored[name]
            corpus.counts[f"{name}_blank"] = blank
            if not len(corpus.splits[name]):
                where = _few(paths[name]) if paths else f"{config.source}, {name}"
                raise ValueError(f"{where}: no texts in it" + (f", only {blank} blank ones" if blank else ""))
            if blank:
                corpus.note(f"{name}: {blank} blank texts dropped")
        _make_missing_splits(corpus, config)
        _count_duplicates(corpus)
        corpus.splits = DatasetDict({name: corpus.splits[name] for name in SPLIT_NAMES})
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        raise ValueError(one_line(f"{error.filename or config.source}: {words}", 1000)) from None
    except ValueError as error:
        raise ValueError(one_line(error, 1000)) from None
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
    path = Path(os.path.expanduser(source))
    if path.is_dir():
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        texts = [entry for entry in entries if not entry.is_dir() and entry.suffix.lower() in SUFFIXES]
        files, folders = _by_split(texts), _by_folder(entries)
        for split, paths in files.items():
            if len({_without_numbers(path) for path in paths}) > 1:
                raise ValueError(
                    f"data.source: {source} has {split} files of several corpora: {_few(paths)}; keep one of them "
                    "there, or name one file"
                )
        found = folders | files
        twice = sorted(files.keys() & folders.keys())
        if twice:
            raise ValueError(f"data.source: {source} has both a file and a folder for {twice[0]}; keep one of them")
        unused = [entry.name for entry in texts if not any(entry in paths for paths in files.values())]
        if "train" in found and unused:
            logger.warning("%s in %s: no name of a split, so not read", one_line(", ".join(unused), 120), source)
        if "train" not in found:
            names = one_line(", ".join(entry.name for entry in entries) or "nothing", 120)
            raise ValueError(
                f"data.source: no train file in folder {source}; wanted train.txt (or {', '.join(SUFFIXES[1:])}, or a "
                f"folder train), and perhaps valid and test beside it; found {names}"
            )
    elif path.exists():
        found = {"train": [path]}
    else:
        matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True)) if not os.path.isdir(match)]
        found = _by_split(matches)
        if "train" not in found or sum(map(len, found.values())) < len(matches):
            if len(found) > 1:
                logger.warning("%s finds more than train, validation and test files: all are training texts", source)
            found = {"train": matches}  # not all of them are named for a split, so none is
        if not matches:
            if path.suffix.lower() in SUFFIXES or source.startswith((".", "/", "~")) or any(c in source for c in "*?["):
                raise ValueError(f"data.source: no such file or folder: {source}")
            return None
    for path in (path for paths in found.values() for path in paths):
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"data.source: {path} has an unknown ending; known: {', '.join(SUFFIXES)}")
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError(f"data.source: {path} is not a regular file")
    for split, paths in found.items():
        if len({path.suffix.lower() for path in paths}) > 1:
            raise ValueError(f"data.source: {split} has files of several formats: {_few(paths)}; name those to read")
    return found


def _by_split(paths: list[Path]) -> dict[str, list[Path]]:
    """Files whose names have the name of a split for a part: train.txt, ptb.valid.txt, test-00000-of-00001.parquet."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        parts = re.split(r"[^a-z]+", path.stem.lower())
        split = next((split for split, names in SPLIT_NAMES.items() if set(parts) & set(names)), None)
        if split:
            found.setdefault(split, []).append(path)
    return found


def _without_numbers(path: Path) -> str:
    """By which the parts of one file are known: test-00000-of-00002.parquet."""
    return re.sub(r"\d+", "", path.stem.lower())


def _by_folder(entries: list[Path]) -> dict[str, list[Path]]:
    """The text files in the folders that have the name of a split, and in folders in these.

    Raises:
        ValueError: such a folder has both files and folders of files: what else than texts may they hold?
    """
    found = {}
    for split, folders in _by_split([entry for entry in entries if entry.is_dir()]).items():
        inside = []
        for folder in folders:
            paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
            paths = [path for path in paths if not any(part[0] == "." for part in path.relative_to(folder).parts)]
            if len({path.parent == folder for path in paths}) > 1:
                raise ValueError(
                    f"data.source: {folder} has both files and folders of files; leave there what are texts, or name "
                    f"them with a glob, such as {folder}/*.txt"
                )
            inside += paths
        if inside:
            found[split] = inside
    return found


def _load_files(config: DataConfig, paths: dict[str, list[Path]], corpus: Corpus) -> dict[str, Stored]:
    unused = [f"data.{name}" for name in ("config", "split", "revision") if getattr(config, name)]
    if unused:
        corpus.note(f"{' and '.join(unused)}: not used, since {config.source} is not on the Hub")
    label = config.label_column
    if label:
        every = [path for part in paths.values() for path in part]
        lacking = next((path for path in every if label not in columns_of(path)), None)
        if lacking and config.label_is_optional:
            corpus.note(f"no column {label!r} in {lacking}: going on without labels")
            label = None
        elif lacking and lacking.suffix.lower() == ".txt":
            raise ValueError(f"data.label_column: {lacking} is plain text, without a column {label!r}")
    stored = {}
    for name, part in paths.items():
        stats = [path.stat() for path in part]
        if not any(stat.st_size for stat in stats):
            raise ValueError(f"{_few(part)}: the file is empty")
        key = [
            [
                (str(path.resolve()), s.st_size, s.st_mtime_ns, s.st_ctime_ns)
                for path, s in zip(part, stats, strict=True)
            ],
            [config.text_column, label, config.unit],
            files.VERSION,
        ]
        rows = (row for path in part for row in read_texts(path, config.text_column, label, config.unit))
        stored[name] = store(rows, bool(label), key, name)
    return stored


def _load_hub(config: DataConfig, corpus: Corpus) -> dict[str, Stored]:
    source = config.source
    part = config.split if config.split and re.search(r"[\[+]", config.split) else None  # such as train[:10%]
    try:
        loaded = load_dataset(source, config.config, revision=config.revision, split=part)
    except Exception as error:  # From the network, the Hub, or any of the formats there.
        raise ValueError(
            f"data.source: {source!r} is no file or folder here, and the Hub gives none: {one_line(error)}"
        ) from None
    if part:
        chosen = {"train": loaded}
    elif config.split:
        if config.split not in loaded:
            hint = suggest(config.split, list(loaded))
            raise ValueError(f"data.split: {source} has no split {config.split!r}; {hint}")
        chosen = {"train": loaded[config.split]}
    else:
        chosen = {split: loaded[name] for split, names in SPLIT_NAMES.items() for name in names if name in loaded}
        if "train" not in chosen:
            raise ValueError(f"data.source: {source} has no train split; name one of {', '.join(loaded)} in data.split")
    label = config.label_column
    if label and config.label_is_optional and any(label not in split.column_names for split in chosen.values()):
        corpus.note(f"no column {label!r} in {source}: going on without labels")
        label = None
    for split in chosen.values():
        for key, column in (("text_column", config.text_column), ("label_column", label)):
            if column and column not in split.column_names:
                raise ValueError(
                    f"data.{key}: {source} has no column {column!r}; {suggest(column, split.column_names)}"
                )
        kind = getattr(split.features[config.text_column], "dtype", "no texts")
        if kind not in ("string", "large_string"):
            raise ValueError(f"data.text_column: {config.text_column!r} of {source} holds {kind}, not texts")
    return {
        name: store(
            _hub_rows(split, config.text_column, label, config.unit),
            bool(label),
            [split._fingerprint, config.text_column, label, config.unit, files.VERSION],
            name,
        )
        for name, split in chosen.items()
    }


def _hub_rows(split: Dataset, text_column: str, label_column: str | None, unit: str) -> Iterator[dict[str, str | None]]:
    columns = [text_column, label_column] if label_column else [text_column]
    kind = split.features[label_column] if label_column else None
    for batch in split.select_columns(columns).iter(batch_size=1000):
        for row, text in enumerate(batch[text_column]):
            label = {}
            if label_column:
                value = batch[label_column][row]
                if isinstance(kind, ClassLabel):
                    # -1 stands for no label.
                    value = None if value is None or value < 0 else kind.int2str(value)
                label["label"] = None if value is None else str(value)
            yield from ({"text": part, **label} for part in split_into_units(text or "", unit))


def text_batches(split: Dataset, size: int = 10_000) -> Iterator[list[str]]:
    """The texts of a split, `size` at a time, or fewer long ones, without reading what else stands beside them."""
    return (batch["text"] for batch in split.select_columns("text").iter(batch_size=texts_at_once(split, size)))


def fingerprint(split: Dataset) -> str:
    """By which a split is known again, wherever its files lie: of its texts, in order."""
    found = hashlib.sha256()
    for texts in text_batches(split):
        found.update("".join(f"{len(text)}:{text}" for text in texts).encode())
    return found.hexdigest()


def _hashes(split: Dataset) -> Iterator[np.ndarray]:
    """Eight bytes for each text, by which texts are compared without holding them in memory; batch by batch."""
    return (np.fromiter(map(hash, texts), np.int64) for texts in text_batches(split))


def _make_missing_splits(corpus: Corpus, config: DataConfig) -> None:
    train = corpus.splits["train"]
    shares = {"validation": config.validation_size, "test": config.test_size}
    shares = {name: share for name, share in shares.items() if name not in corpus.splits}
    missing = {name: min(MOST_PUT_ASIDE, max(1, round(share * len(train)))) for name, share in shares.items()}
    if not missing:
        return
    if sum(missing.values()) >= len(train):
        raise ValueError(f"{config.source}: too few texts ({len(train)}) to put {' and '.join(missing)} aside")
    corpus.splits |= cut(train, missing, "train", config.seed)
    made = " and ".join(f"{name} ({count} texts)" for name, count in missing.items())
    capped = " (10,000 texts at most)" if MOST_PUT_ASIDE in missing.values() else ""
    corpus.note(f"the corpus has no {made}: cut from train with seed {config.seed}{capped}")


def _count_duplicates(corpus: Corpus) -> None:
    splits = corpus.splits
    key = {name: split._fingerprint for name, split in splits.items()}
    for (name, other), count in zip(PAIRS, remembered(key, "duplicates", lambda: _duplicates(splits)), strict=True):
        corpus.counts[f"{name}_in_{other}"] = count
        if count:
            corpus.note(f"{count} of {len(splits[name])} {name} texts also stand in {other}")


def _duplicates(splits: DatasetDict) -> list[int]:
    """For each of PAIRS, the texts of the first split that also stand in the second; of the second none is held."""
    names = {name for name, _ in PAIRS}
    known = {name: np.unique(np.concatenate(list(_hashes(splits[name]))), return_inverse=True) for name in names}
    found = {pair: np.zeros(len(known[pair[0]][0]), dtype=bool) for pair in PAIRS}
    for second in {other for _, other in PAIRS}:
        pairs = [pair for pair in PAIRS if pair[1] == second]
        for hashes in _hashes(splits[second]):  # read once for all of its pairs
            for pair in pairs:
                values = known[pair[0]][0]
                places = np.searchsorted(values, hashes).clip(max=len(values) - 1)
                found[pair][places[values[places] == hashes]] = True
    return [int(found[pair][known[pair[0]][1]].sum()) for pair in PAIRS]


def _few(paths: list[Path]) -> str:
    names = [str(path) for path in paths]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
