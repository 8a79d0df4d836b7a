# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Parallel text from files or from the Hub, as splits with the string columns ``source`` and ``target``.

A split is given as one of

- two parallel text files ``[source, target]``: line N of the one is translated by line N of the other;
- one ``.tsv`` (tabs separate, quotes are ordinary characters) or ``.csv`` file, headed by the columns' names;
- one ``.jsonl`` file with an object a line, or a ``.json`` file with such lines or with one list of objects;
- one ``.parquet`` file.

Objects and Parquet rows hold the texts in columns of their own or as ``{"translation": {"en": …, "fr": …}}``.
Text is UTF-8, a leading byte order mark is dropped, and a line ends at a line feed (or a carriage return and
a line feed) and nowhere else: no-break spaces, U+2028, U+0085 and form feeds belong to the sentence.

What is read lies in the cache of `datasets` under the hash of its content, so that later runs find it, and
what ``map`` made of it.
"""

import codecs
import csv
import difflib
import hashlib
import json
import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict, Features, NamedSplit, Value, load_dataset
from datasets.exceptions import DatasetGenerationError
from pyarrow import ArrowInvalid

from .errors import InputError

SplitFiles = str | Path | Sequence[str | Path]
"""One table, or two parallel text files."""

_READER_VERSION = "1"  # part of the cache's key: raise it when the same files shall give other pairs


LINE = "line"
"""Column with the number of a pair in its file."""


def load_parallel_data(
    *,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    train_file: SplitFiles | None = None,
    validation_file: SplitFiles | None = None,
    test_file: SplitFiles | None = None,
    source_lang: str | None = None,
    target_lang: str | None = None,
    source_column: str | None = None,
    target_column: str | None = None,
    validation_split: float = 0.05,
    seed: int = 0,
) -> DatasetDict:
    """Load the splits ``train``, ``validation`` and, where there is one, ``test``.

    The training pairs come from `dataset_name` (a dataset on the Hub, or a local folder of one) or
    `train_file`; `validation_file` and `test_file` take the place of the dataset's own splits. In tables, the
    column of a side is `source_column` if given, else the first there is of ``translation.<source_lang>``,
    ``<source_lang>`` and ``source``; the target's likewise. Without validation pairs, `validation_split` (a
    fraction below 1, or a number of pairs) is cut from train, the same pairs for the same `seed`.

    Raises:
        InputError: if something is missing, empty, malformed, or of unequal length.
    """
    if (dataset_name is None) == (train_file is None):
        given = "neither was given" if dataset_name is None else "both were given"
        raise InputError(f"Training pairs come from either dataset_name or train_file, and {given}.")
    columns = _Columns(source_column, target_column, source_lang, target_lang)

    splits = _load_hub_splits(dataset_name, dataset_config_name, columns) if dataset_name else {}
    for split, files in (("train", train_file), ("validation", validation_file), ("test", test_file)):
        if files is not None:
            splits[split] = _load_files(files, split, columns)

    if "validation" not in splits:
        train = numbered(splits["train"])
        splits["train"], splits["validation"] = _cut_validation(train, validation_split, seed)
        if os.environ.get("RANK", "0") == "0":  # once, where several processes train
            cut, kept = len(splits["validation"]), len(splits["train"])
            print(f"Cut {cut:,} of {cut + kept:,} pairs from train for validation (seed {seed}).")
    return DatasetDict(splits)


class Overlap(NamedTuple):
    """How many of the test pairs stand in the training data: their `sources`, and the `pairs` as a whole."""

    sources: int
    pairs: int


def count_overlap(train: Dataset, test: Dataset) -> Overlap:
    """Count the test pairs whose source stands in `train`, and those that stand there as a whole."""
    train_pairs = set(_pairs(train))
    train_sources = {source for source, _ in train_pairs}
    test_pairs = _pairs(test)
    return Overlap(
        sources=sum(source in train_sources for source, _ in test_pairs),
        pairs=sum(pair in train_pairs for pair in test_pairs),
    )


def read_lines(path: str | Path) -> list[str]:
    """Read the lines of a UTF-8 text file, without their line ends.

    Raises:
        InputError: if the file is missing or empty, or at the first line that is not UTF-8.
    """
    return list(_iterate_lines(_existing_file(path)))


def _iterate_lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:  # binary files split at line feeds only; str.splitlines at ten other characters too
        for number, line in enumerate(file, start=1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if line.endswith(b"\n"):
                line = line[:-1].removesuffix(b"\r")
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}, line {number}: byte {error.start + 1} (0x{line[error.start]:02x}) is not "
                    "UTF-8; convert the file."
                ) from None


def _existing_file(path: str | Path) -> Path:
    path = Path(path).expanduser()
    if path.is_file():
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty.")
        return path
    if path.is_dir():
        raise InputError(f"{path} is a folder, where a file is expected.")
    if not path.parent.is_dir():
        raise InputError(f"{path} does not exist, nor does the folder {path.parent}.")
    near = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1, cutoff=0)
    hint = f"; the nearest name in that folder is {near[0]}" if near else "; that folder is empty"
    raise InputError(f"{path} does not exist{hint}.")


@dataclass(frozen=True)
class _Columns:
    """Which columns of a table the two sides are in."""

    source_column: str | None
    target_column: str | None
    source_lang: str | None
    target_lang: str | None

    def find(self, names: Sequence[str], where: str | Path) -> tuple[str, str]:
        return (
            self._find_side("source", self.source_column, self.source_lang, names, where),
            self._find_side("target", self.target_column, self.target_lang, names, where),
        )

    @staticmethod
    def _find_side(side: str, column: str | None, lang: str | None, names: Sequence[str], where: str | Path) -> str:
        of_lang = [f"translation.{lang}", lang] if lang is not None else []
        wanted = [column] if column is not None else [*of_lang, side]
        for name in wanted:
            if name in names:
                return name
        raise InputError(
            f"{where} has no column {' or '.join(map(repr, wanted))}; it has {', '.join(map(repr, names))}: "
            f"say with {side}_column which one holds the {side} (TSV and CSV files name them in the first line)."
        )


def _load_files(files: SplitFiles, split: str, columns: _Columns) -> Dataset:
    """One split from its files."""
    if isinstance(files, str | Path):
        path = _existing_file(files)
        if path.suffix.lower() == ".parquet":
            return _load_parquet(path, columns)
        if path.suffix.lower() not in _RECORD_READERS:
            known = ", ".join([*_RECORD_READERS, ".parquet"])
            raise InputError(
                f"{path}: one file that holds both sides is one of {known}; give parallel text as two files, "
                "[source, target]."
            )
        return _cached((path,), split, columns, lambda: _table_pairs(path, columns))

    if len(files) != 2:
        raise InputError(
            f"{split}_file holds {len(files)} paths, where one table or two parallel text files are expected."
        )
    source, target = (_existing_file(file) for file in files)
    return _cached((source, target), split, columns, lambda: _parallel_pairs(source, target))


def _cached(
    paths: Sequence[Path], split: str, columns: _Columns, pairs: Callable[[], Iterator[tuple[str, str]]]
) -> Dataset:
    """The pairs as a memory-mapped dataset, cached under the hash of the content."""

    def rows() -> Iterator[dict[str, str]]:
        row = None
        for source, target in pairs():
            yield (row := {"source": source, "target": target})
        if row is None:
            raise InputError(f"{paths[0]} holds no pair.")

    content = hashlib.sha256(repr((_READER_VERSION, split, columns, [path.suffix for path in paths])).encode())
    for path in paths:
        with path.open("rb") as file:
            content.update(hashlib.file_digest(file, "sha256").digest())
    features = Features({"source": Value("string"), "target": Value("string")})
    try:
        return Dataset.from_generator(
            rows, features=features, split=NamedSplit(split), fingerprint=content.hexdigest()[:32]
        )
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise


def _parallel_pairs(source_path: Path, target_path: Path) -> Iterator[tuple[str, str]]:
    for source, target in zip_longest(_iterate_lines(source_path), _iterate_lines(target_path)):
        if source is None or target is None:
            counts = [sum(1 for _ in _iterate_lines(path)) for path in (source_path, target_path)]
            raise InputError(
                f"Parallel files need as many lines each: {source_path} has {counts[0]:,}, "
                f"{target_path} has {counts[1]:,}."
            )
        yield source, target


Record = dict[str, Any]
Records = Iterator[tuple[str, Record]]  # each with where it stands, for messages


def _table_pairs(path: Path, columns: _Columns) -> Iterator[tuple[str, str]]:
    names: tuple[str, str] | None = None
    for where, record in _RECORD_READERS[path.suffix.lower()](path):
        names = names or columns.find(list(record), path)
        for name in names:
            if not isinstance(record.get(name), str):
                raise InputError(f"{where}: {name!r} is {record.get(name)!r}, where text is expected.")
        yield record[names[0]], record[names[1]]


def _tsv_records(path: Path) -> Records:
    return _headed_records(path, enumerate((line.split("\t") for line in _iterate_lines(path)), start=1))


def _csv_records(path: Path) -> Records:
    reader = csv.reader((line + "\n" for line in _iterate_lines(path)), strict=True)
    try:
        yield from _headed_records(path, ((reader.line_num, row) for row in reader if row))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not CSV ({error}).") from None


def _headed_records(path: Path, rows: Iterator[tuple[int, list[str]]]) -> Records:
    _, header = next(rows, (0, []))
    for number, row in rows:
        where = f"{path}, line {number}"
        if len(row) != len(header):
            names = ", ".join(map(repr, header))
            raise InputError(f"{where}: {len(row)} columns, where the first line names {len(header)} ({names}).")
        yield where, dict(zip(header, row, strict=True))


def _json_records(path: Path) -> Records:
    lines = ((number, line) for number, line in enumerate(_iterate_lines(path), start=1) if line.strip())
    for number, line in lines:
        where = f"{path}, line {number}"
        if line.lstrip().startswith("["):
            rest = (line for _, line in lines)
            for item, record in enumerate(_parse_json("\n".join([line, *rest]), where), start=1):
                where = f"{path}, item {item}"
                yield where, _flat_record(record, where)
        else:
            yield where, _flat_record(_parse_json(line, where), where)


def _parse_json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON ({error}); expected is an object a line, or one list.") from None


def _flat_record(record: Any, where: str) -> Record:
    """The record with ``{"translation": {"en": …}}`` as ``{"translation.en": …}``."""
    if not isinstance(record, dict):
        raise InputError(f"{where}: {type(record).__name__} found, where an object with the two texts is expected.")
    translation = record.get("translation")
    if isinstance(translation, dict):
        record = {**record, **{f"translation.{lang}": text for lang, text in translation.items()}}
        del record["translation"]
    return record


_RECORD_READERS: dict[str, Callable[[Path], Records]] = {
    ".tsv": _tsv_records,
    ".csv": _csv_records,
    ".json": _json_records,
    ".jsonl": _json_records,
}


def _load_parquet(path: Path, columns: _Columns) -> Dataset:
    try:
        dataset = Dataset.from_parquet(str(path))
    except (ArrowInvalid, DatasetGenerationError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error.__cause__ or error}") from error
    return _select_pairs(dataset, columns, str(path))


def _load_hub_splits(name: str, config_name: str | None, columns: _Columns) -> dict[str, Dataset]:
    try:
        loaded = load_dataset(name, config_name)
    except (
        OSError,
        ValueError,
        DatasetGenerationError,
    ) as error:  # not there, no network, no such configuration
        reason = " ".join(str(error).split())
        raise InputError(f"The dataset {name!r} cannot be loaded: {reason}") from error
    if "train" not in loaded:
        raise InputError(f"The dataset {name!r} has no split 'train'; it has {', '.join(map(repr, loaded))}.")
    return {
        split: _select_pairs(loaded[split], columns, f"{name} ({split})")
        for split in ("train", "validation", "test")
        if split in loaded
    }


def _select_pairs(dataset: Dataset, columns: _Columns, where: str) -> Dataset:
    """The two columns of a table that `datasets` loaded, named ``source`` and ``target``."""
    dataset = dataset.flatten()
    if len(dataset) == 0:
        raise InputError(f"{where} holds no pair.")
    names = columns.find(dataset.column_names, where)
    for name in names:
        feature = dataset.features[name]
        if getattr(feature, "dtype", None) not in ("string", "large_string"):
            raise InputError(f"{where}: column {name!r} holds {feature}, where text is expected.")
        if dataset.data.column(name).null_count:
            row = pc.index(pc.is_null(dataset.data.column(name)), True).as_py() + 1
            raise InputError(f"{where}, row {row}: {name!r} is null, where text is expected.")
    dataset = dataset.select_columns(list(names))
    return dataset.rename_columns(dict(zip(names, ("source", "target"), strict=True)))


def numbered(dataset: Dataset) -> Dataset:
    """`dataset` with the number of each pair in its file, from 1 on, as the column ``line``."""
    return dataset if LINE in dataset.column_names else dataset.add_column(LINE, np.arange(1, len(dataset) + 1))


def _cut_validation(train: Dataset, size: float, seed: int) -> tuple[Dataset, Dataset]:
    """Split off `size` of the pairs. Copies of a pair stay together, so that none stands on both sides."""
    wanted = max(1, round(size * len(train))) if 0 < size < 1 else int(size)
    rows_of_pair = defaultdict(list)
    for row, pair in enumerate(_pairs(train)):
        rows_of_pair[pair].append(row)
    groups = list(rows_of_pair.values())
    random.Random(seed).shuffle(groups)

    cut: list[int] = []
    for group in groups:
        if len(cut) + len(group) <= wanted:
            cut += group
    if not 0 < len(cut) < len(train):
        raise InputError(
            f"validation_split {size:g} cuts {len(cut):,} of {len(train):,} training pairs, and both "
            "parts need at least one: change it, or give a validation_file."
        )
    kept = sorted(set(range(len(train))).difference(cut))
    return train.select(kept), train.select(sorted(cut))


def _pairs(dataset: Dataset) -> list[tuple[str, str]]:
    return list(zip(dataset["source"][:], dataset["target"][:], strict=True))
