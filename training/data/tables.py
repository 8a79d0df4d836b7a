# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Loading the rows of a run's splits, from files or from a dataset, with the columns that the task of the run needs.

The files of a split are one of

- one ``.tsv`` file, whose cells are separated by tabs; quotes are ordinary characters;
- one ``.csv`` file, whose cells are separated by commas, semicolons, tabs or vertical bars;
- one ``.jsonl`` file with an object in each line, or a ``.json`` file with such lines or with one list of objects;
- one ``.parquet`` file;
- as many parallel text files as a row has columns: line N of each file belongs to row N;
- any number of text files of documents, if each row is a document.

The first line of a TSV or CSV file has the names of the columns. A value in a JSON or Parquet file may be nested: the
column ``translation.en`` is the value of ``en`` in ``{"translation": {"en": "Hello", "fr": "Bonjour"}}``. Text is
UTF-8, and a byte order mark at the start is dropped. A line ends only at a line feed, or at a carriage return and a
line feed: no-break spaces, U+2028, U+0085 and form feeds belong to the text. A file other than Parquet whose name ends
with ``.gz`` is decompressed as it is read, but cannot be streamed.

The rows of TSV, CSV, JSON and text files are cached by `datasets` under a hash of the files' content, so that later
runs find the rows and the results of ``map`` on them.
"""

import codecs
import csv
import difflib
import glob
import gzip
import hashlib
import json
import os
import random
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Image,
    List,
    NamedSplit,
    Value,
    concatenate_datasets,
    load_dataset,
)
from datasets.exceptions import DatasetGenerationError
from pyarrow import ArrowInvalid
from pyarrow.parquet import ParquetFile

from locant.utils.errors import first_line

from ..errors import InputError
from ..main_process import print_in_main_process
from .document_files import BLANK_LINE, EACH_LINE, FILE, split_documents

SplitFiles = str | Path | Sequence[str | Path]
"""The files of a split: one table, parallel text files, or text files of documents."""

GZIP = ".gz"
DELIMITERS = (",", ";", "\t", "|")
"""Delimiters of ``.csv`` files. A file is read with the first delimiter that divides its header into several columns.

A file whose header is a single column is read with a comma as the delimiter.
"""

QUOTED_TSV = (
    "Quotes are ordinary characters in a .tsv file: if the cells are enclosed in quotes, rename the file to .csv (a "
    ".csv file may also have tabs between its cells)."
)

_READER_VERSION = "2"  # part of the cache key: increase it if the readers return other rows for the same files

LINE = "line"
"""The name of the column with the number of a row in its file or dataset; the function `numbered` adds this column."""


@dataclass(frozen=True)
class Kind:
    """Says which values a column has, and how a cell of a table is converted to such a value.

    Args:
        expected: a description of the values, for messages.
        feature: the type of the column in the dataset.
        read: converts a cell to a value; the second argument is the folder of the table. This function raises
            `TypeError` or `ValueError` for a cell that cannot be converted, and `FileNotFoundError` with the path of a
            missing file.
    """

    expected: str
    feature: Any
    read: Callable[[Any, Path], Any]


def _read_text(value: Any, folder: Path) -> str:
    if not isinstance(value, str):
        raise ValueError
    value.encode()  # a UnicodeEncodeError is raised if JSON has half of a surrogate pair, such as "\\ud83d"
    return value


def _read_label(value: Any, folder: Path) -> str:
    if not isinstance(value, str | int) or not str(value).strip():
        raise ValueError
    return _read_text(str(value).strip(), folder)


def _read_number(value: Any, folder: Path) -> float:
    if isinstance(value, bool) or not np.isfinite(number := float(value)):
        raise ValueError
    return number


def _read_image(value: Any, folder: Path) -> Any:
    if isinstance(value, bytes):
        return value  # an image that is in the dataset itself
    if not isinstance(value, str):
        raise ValueError
    path = folder / value
    if not os.path.isfile(path):  # `Path.is_file` raises an error if the text is too long for a path
        raise FileNotFoundError(path)
    return str(path)


TEXT = Kind("text", Value("string"), _read_text)
LABEL = Kind("the name of a class", Value("string"), _read_label)
NUMBER = Kind("a number", Value("float64"), _read_number)
IMAGE = Kind("the path of an image (relative to the folder of the table)", Image(), _read_image)


def labels(separator: str) -> Kind:
    """Return the `Kind` of a column with lists of labels, or with texts in which `separator` separates the labels."""

    expected = f"names of classes, as a list or with {separator!r} between them"
    return Kind(expected, List(Value("string")), partial(_read_labels, separator))


def _read_labels(separator: str, value: Any, folder: Path) -> list[str]:
    parts = value.split(separator) if isinstance(value, str) else value
    if not isinstance(parts, list):
        raise ValueError
    if isinstance(value, str):
        parts = [part for part in parts if part.strip()]
    return [_read_label(part, folder) for part in parts]


@dataclass(frozen=True)
class Column:
    """A column of the rows of a task, and the names that this column may have in a table.

    Args:
        name: the name of the column in the rows.
        kind: the kind of the values in the column.
        chosen: the name of the column in the table, from the option ``<name>_column``.
        usual: names of the column in the table if `chosen` is None; the first name that the table has is used, or
            else `name`.
    """

    name: str
    kind: Kind = TEXT
    chosen: str | None = None
    usual: tuple[str, ...] = ()

    @property
    def wanted(self) -> tuple[str, ...]:
        """The names that the column may have in a table, the preferred one first."""
        return (self.chosen,) if self.chosen is not None else (*self.usual, self.name)

    def read(self, value: Any, folder: Path, where: str, name: str | None = None) -> Any:
        """Convert a cell to a value of `kind`.

        Raises:
            InputError: the cell cannot be converted, or names a missing file; the message begins with `where`, the
                place of the cell, such as its file and line.
        """
        try:
            return self.kind.read(value, folder)
        except FileNotFoundError as missing:
            raise InputError(
                f"{where}: there is no file {missing}, which the column {name or self.name!r} names: correct the path, "
                "or remove the row."
            ) from None
        except UnicodeEncodeError as error:
            raise InputError(
                f"{where}: {name or self.name!r} holds {error.object[error.start]!a}, which is one half of a surrogate "
                "pair and no character: write both halves, or the character itself."
            ) from None
        except (TypeError, ValueError):
            raise InputError(
                f"{where}: {name or self.name!r} is {value!r}, where {self.kind.expected} is expected: correct the "
                "value, or choose another column."
            ) from None


@dataclass(frozen=True)
class Layout:
    """Describes the rows of a task: their columns, and the name of a row in messages.

    Args:
        columns: the columns of a row.
        row: the name of a row in messages, such as `pair`.
        document_separator: the argument `separator` of `split_documents` if the rows are documents; else None.
    """

    columns: tuple[Column, ...]
    row: str = "row"
    document_separator: str | None = None

    @property
    def features(self) -> Features:
        """The type of each column, by the name of the column."""
        return Features({column.name: column.kind.feature for column in self.columns})

    def find(self, names: Sequence[str], where: str | Path) -> list[str]:
        """Find the name that each column of the layout has in a table.

        Args:
            names: the names of all columns of the table.
            where: the table, for the message.

        Raises:
            InputError: columns are missing in the table; the message names all missing columns.
        """
        found = [next((name for name in column.wanted if name in names), None) for column in self.columns]
        missing = [column for column, name in zip(self.columns, found, strict=True) if name is None]
        if missing:
            lacking = " and ".join(f"no column {' or '.join(map(repr, column.wanted))}" for column in missing)
            options = " and ".join(f"{column.name}_column" for column in missing)
            held = f"column holds the {missing[0].name}" if len(missing) == 1 else "columns hold them"
            raise InputError(
                f"{where} has {lacking}; it has {', '.join(map(repr, names))}: say with {options} which {held} (TSV "
                "and CSV files name their columns in the first line)."
            )
        return [name for name in found if name is not None]


def load_splits(layout: Layout, data: Any, seed: int) -> DatasetDict:
    """Load the splits ``train`` and ``validation``, and ``test`` if test data are given, with the columns of `layout`.

    `data` are the arguments of the section `data:`. The training rows come from `dataset_name`, a dataset on the Hub or
    in a local folder, or from `train_file`; exactly one of the two must be given. `validation_file` and `test_file`
    replace the splits ``validation`` and ``test`` of the dataset; a split ``test`` whose labels are all missing (-1) is
    left out. If no validation data are given, `validation_split` (a fraction below 1, or a number of rows) is cut from
    train; the same `seed` cuts the same rows. If the rows are documents that are not single lines, and the fraction
    amounts to less than one document, this fraction is cut from the end of each document instead.

    Raises:
        InputError: if a dataset cannot be loaded; if a file, split or column is missing, empty or malformed; if
            parallel files have different numbers of lines; or if `validation_split` leaves no row for train or for
            validation.
    """
    files = {split: getattr(data, f"{split}_file") for split in ("train", "validation", "test")}
    files = {split: given for split, given in files.items() if given is not None}
    name, config_name, size = data.dataset_name, data.dataset_config_name, data.validation_split
    splits = _load_hub_splits(name, config_name, layout, [*files]) if name else {}
    splits |= {split: load_files(given, split, layout) for split, given in files.items()}

    if "validation" not in splits:
        train = numbered(splits["train"])
        are_documents = layout.document_separator not in (None, EACH_LINE)
        if are_documents and size * len(train) < 1:
            splits["train"], splits["validation"] = _cut_documents(train, size)
            print_in_main_process(f"Cut the last {size:.0%} of each document from train for validation.")
        else:
            splits["train"], splits["validation"] = _cut_validation(train, layout, size, seed)
            cut, total = len(splits["validation"]), len(train)
            print_in_main_process(f"Cut {cut:,} of {total:,} {layout.row}s from train for validation (seed {seed}).")
    return DatasetDict(splits)


def read_lines(path: str | Path) -> list[str]:
    """Read the lines of a UTF-8 text file, without their line ends.

    Raises:
        InputError: the file is missing or empty, cannot be decompressed, or has a line that is not UTF-8.
    """
    return list(_iterate_lines(existing_file(path)))


def _iterate_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file, which is decompressed if its name ends with ``.gz``."""
    is_packed = path.suffix.lower() == GZIP
    try:
        with gzip.open(path) if is_packed else path.open("rb") as file:
            yield from decode_lines(file, path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} cannot be unpacked ({error}): give a complete gzip file, or plain text in a file without .gz."
        ) from None


def format_of(path: str | Path) -> str:
    """Return the suffix of a file name in lower case, without ``.gz``: ``.csv`` for ``a.CSV`` and ``a.csv.gz``."""
    path = Path(path)
    return Path(path.stem).suffix.lower() if path.suffix.lower() == GZIP else path.suffix.lower()


def is_table(path: str | Path) -> bool:
    """Return whether the suffix of a file name is that of a table."""
    return format_of(path) in TABLES


def decode_lines(file: Iterable[bytes], name: str | Path, first: int = 1) -> Iterator[str]:
    """Yield the lines of UTF-8 text, without their line ends and without a byte order mark at the start.

    Args:
        file: the lines of a binary file, which is divided at line feeds only; `str.splitlines` would also divide it at
            other characters, such as U+2028.
        name: the name of the file, for messages.
        first: the number of the first line of `file`; above 1 if `file` has only a later part of the lines.

    Raises:
        InputError: at the first line that is not UTF-8.
    """
    for number, line in enumerate(file, start=first):
        if number == 1:
            _check_encoding(line, name)
            line = line.removeprefix(codecs.BOM_UTF8)
        if line.endswith(b"\n"):
            line = line[:-1].removesuffix(b"\r")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name}, line {number}: byte {error.start + 1} (0x{line[error.start]:02x}) is not UTF-8; convert "
                "the text to UTF-8."
            ) from None


def _check_encoding(start: bytes, name: str | Path) -> None:
    """Raise `InputError` if a file begins with a byte order mark of UTF-16, or with the first bytes of a gzip file."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{name} is UTF-16: convert it to UTF-8, with iconv -f UTF-16 -t UTF-8.")
    if start.startswith(b"\x1f\x8b"):
        raise InputError(f"{name} is packed with gzip: let its name end with .gz, or unpack it.")


def existing_file(path: str | Path) -> Path:
    """Return `path` as a `Path`, with a leading `~` replaced by the home folder.

    Raises:
        InputError: there is no file at `path`, or the file is empty.
    """
    path = Path(path).expanduser()
    # unlike the methods of Path, the functions of os.path return False for a name that is too long
    if os.path.isfile(path):
        if not os.access(path, os.R_OK):
            raise InputError(f"{path} cannot be read (Permission denied): make the file readable.")
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty: give a file that is not empty.")
        return path
    if os.path.isdir(path):
        raise InputError(
            f"{path} is a folder, where a file is expected: give a file (locant train also takes a folder, as "
            "dataset_name)."
        )
    if os.path.exists(path):
        raise InputError(
            f"{path} is a pipe or a device, where a file is expected: write the text to a file (locant translate and "
            "locant predict also read the standard input)."
        )
    if not os.path.isdir(path.parent):
        raise InputError(f"{path} does not exist, and its folder {path.parent} is missing too: correct the path.")
    near = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1, cutoff=0.4)
    hint = f"; the nearest name in its folder is {near[0]}" if near else "; no name in its folder is similar"
    raise InputError(f"{path} does not exist: correct the path{hint}.")


def load_files(files: SplitFiles, split: str, layout: Layout) -> Dataset:
    """Load the rows of one split from its files: one table, a text file for each column, or text files of documents.

    Raises:
        InputError: if a file or column is missing, empty or malformed; if parallel files have different numbers of
            lines; or if a single file is not a table although the rows have several columns.
    """
    names = [column.name for column in layout.columns]
    if isinstance(files, str | Path) and (len(names) > 1 or format_of(files) in TABLES):
        path = existing_file(files)
        if format_of(path) == ".parquet":
            return _load_parquet(path, layout)
        if format_of(path) not in _RECORD_READERS:
            raise InputError(
                f"{path} must hold {' and '.join(names)}, but is not a table ({', '.join(TABLES)}): give a table, or "
                f"parallel text as {len(names)} files, [{', '.join(names)}]."
            )
        return _cached((path,), split, layout, lambda: _table_rows(path, layout, table_records(path)))

    files = [files] if isinstance(files, str | Path) else files
    if layout.document_separator is not None:
        documents = [_existing_text_file(file) for file in files]
        return _cached(documents, split, layout, lambda: _document_rows(documents, layout))
    paths = [existing_file(file) for file in files]
    return _cached(paths, split, layout, lambda: parallel_rows(paths, layout, map(_iterate_lines, paths)))


def _cached(paths: Sequence[Path], split: str, layout: Layout, read: Callable[[], Iterator[tuple]]) -> Dataset:
    """Return a memory-mapped dataset of the rows that `read` yields.

    The dataset is cached under a hash of the content of the files `paths`, of `split` and of `layout`.
    """
    names = [column.name for column in layout.columns]

    def rows() -> Iterator[dict[str, Any]]:
        row = None
        for values in read():
            yield (row := dict(zip(names, values, strict=True)))
        if row is None:
            raise InputError(f"{paths[0]} holds no {layout.row}: give a file with at least one {layout.row}.")

    described: list[Any] = [
        (column.name, column.kind.expected, column.chosen, column.usual) for column in layout.columns
    ]
    if layout.document_separator not in (None, EACH_LINE) and format_of(paths[0]) not in TABLES:
        described.append(layout.document_separator)
    content = hashlib.sha256(repr((_READER_VERSION, split, described, [path.suffixes[-2:] for path in paths])).encode())
    for path in paths:
        with path.open("rb") as file:
            content.update(hashlib.file_digest(file, "sha256").digest())
    if any(column.kind is IMAGE for column in layout.columns):
        content.update(str(paths[0].parent.resolve()).encode())
    try:
        return Dataset.from_generator(
            rows, features=layout.features, split=NamedSplit(split), fingerprint=content.hexdigest()[:32]
        )
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise


def _existing_text_file(path: str | Path) -> Path:
    if format_of(path) in TABLES:
        raise InputError(f"{path} is a table among several files: give one table alone, or only text files.")
    return existing_file(path)


def _document_rows(paths: Sequence[Path], layout: Layout) -> Iterator[tuple]:
    separator = layout.document_separator
    assert separator is not None
    parts = 0
    for path in paths:
        if separator == FILE and path.stat().st_size >= 2**31:  # too long for a cell of an Arrow table
            raise InputError(
                f"{path} is one document of 2 GiB or more: set document_separator, or give a table of documents."
            )
        for document in split_documents(_iterate_lines(path), separator):
            parts += 1
            if separator == EACH_LINE or document.strip():
                yield (document,)
    if separator not in (FILE, BLANK_LINE, EACH_LINE) and parts == len(paths):
        raise InputError(
            f"document_separator is {separator!r}, but this text does not occur in {' and '.join(map(str, paths))}: "
            "set it to file, blank_line, line, or a text that stands between two documents."
        )


def parallel_rows(
    paths: Sequence[Path], layout: Layout, texts: Iterable[Iterable[str]], first: int = 1
) -> Iterator[tuple]:
    """Yield the values of each row of parallel text files, from the lines of each file in `texts`.

    `first` is the number of the first line in `texts`, for messages.
    """
    for number, lines in enumerate(zip_longest(*texts), start=first):
        if None in lines:
            raise unequal_lengths(paths, [sum(1 for _ in _iterate_lines(path)) for path in paths])
        yield tuple(
            column.read(line, path.parent, f"{path}, line {number}")
            for column, line, path in zip(layout.columns, lines, paths, strict=True)
        )


def unequal_lengths(paths: Sequence[Path], counts: Sequence[int]) -> InputError:
    """Return the `InputError` for parallel files with different numbers of lines, which are given in `counts`."""
    listed = ", ".join(f"{path} has {count:,}" for path, count in zip(paths, counts, strict=True))
    return InputError(
        f"Parallel files must have the same number of lines: {listed}; correct them, so that line N of each file "
        "belongs to row N."
    )


Record = dict[str, Any]
NumberedLines = Iterable[tuple[int, str]]
# Each record with its place for messages, which is the file and line, or the file and item, of the record
Records = Iterator[tuple[str, Record]]


def _table_rows(path: Path, layout: Layout, records: Records) -> Iterator[tuple]:
    names: list[str] | None = None
    for where, record in records:
        names = names or layout.find(list(record), path)
        yield read_record(layout, names, where, record, path.parent)


def read_record(layout: Layout, names: Sequence[str], where: str, record: Record, folder: Path) -> tuple:
    """Convert a record to the values of a row; `names` are the names that the columns of `layout` have in the record.

    `where` is the place of the record, such as its file and line, for messages.
    """
    return tuple(
        column.read(record.get(name), folder, where, name) for column, name in zip(layout.columns, names, strict=True)
    )


def table_records(path: Path, lines: NumberedLines | None = None) -> Records:
    """Yield the records of a TSV, CSV or JSON file, each with its place for messages.

    The place is the file and the line, or the file and the number of the item if a JSON file holds one list.

    Args:
        path: the file.
        lines: the numbered lines of a block of the file, with the header of a TSV or CSV file before them; None for the
            whole file. In a block, each record must be one line.
    """
    whole = enumerate(_iterate_lines(path), start=1)
    return _RECORD_READERS[format_of(path)](path, whole if lines is None else lines, lines is not None)


def _tsv_records(path: Path, lines: NumberedLines, is_block: bool) -> Records:
    return _headed_records(path, ((number, line.split("\t")) for number, line in lines))


def _csv_records(path: Path, lines: NumberedLines, is_block: bool) -> Records:
    csv.field_size_limit(2**31 - 1)  # the default is 131,072 characters; more than 2**31 - 1 may not fit into a C long
    number = 0

    def read_texts() -> Iterator[str]:
        nonlocal number
        for number, line in lines:  # noqa: B007 (the messages below need the number of the last line)
            yield line + "\n"

    def read_rows() -> Iterator[tuple[int, list[str]]]:
        texts = read_texts()
        header = next((text for text in texts if text.strip()), "")
        separating = (mark for mark in DELIMITERS if len(next(csv.reader([header], delimiter=mark), ())) > 1)
        reader = csv.reader(chain([header], texts), delimiter=next(separating, ","), strict=True)
        for count, row in enumerate(reader, start=1):
            if is_block and reader.line_num != count:
                raise InputError(
                    f"{path}, line {number}: a cell holds a line break, which a streamed CSV file may not have: "
                    "write the rows as JSON lines or Parquet."
                )
            if row:
                yield number, row

    try:
        yield from _headed_records(path, read_rows())
    except csv.Error as error:
        raise InputError(
            f"{path}, line {number}, is not CSV ({error}): correct the file, or give the rows as JSON lines or Parquet."
        ) from None


def _headed_records(path: Path, rows: Iterator[tuple[int, list[str]]]) -> Records:
    """Yield the file and line of each row, and the row as a dict from column name to cell.

    The first line that is not blank has the names of the columns. If there are several columns, further blank lines are
    skipped. If there is a single column, a blank line is a row, except an empty line of a CSV file, which is skipped.
    """
    _, header = next((entry for entry in rows if not _is_blank(entry[1])), (0, []))
    if twice := [name for name, count in Counter(header).items() if name and count > 1]:
        raise InputError(f"{path} has several columns named {twice[0]!r}: give each column a name of its own.")
    for number, row in rows:
        where = f"{path}, line {number}"
        if len(header) > 1 and _is_blank(row):
            continue
        if len(row) != len(header):
            names = ", ".join(map(repr, header))
            is_quoted = format_of(path) == ".tsv" and any(cell.startswith('"') for cell in row)
            hint = f". {QUOTED_TSV}" if is_quoted else "."
            raise InputError(
                f"{where}, has {len(row)} columns, but the first line names {len(header)} ({names}): give each row one "
                f"cell for each name{hint}"
            )
        yield where, dict(zip(header, row, strict=True))


def _is_blank(row: list[str]) -> bool:
    """Return whether the line that was divided into the cells `row` is empty or white space only."""
    return len(row) < 2 and not "".join(row).strip()


def _json_records(path: Path, lines: NumberedLines, is_block: bool) -> Records:
    lines = ((number, line) for number, line in lines if line.strip())
    for number, line in lines:
        where = f"{path}, line {number}"
        if line.lstrip().startswith("["):
            if is_block:
                raise InputError(f"{where}, begins a list, which cannot be streamed: give an object in each line.")
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
        raise InputError(
            f"{where}, is not JSON ({error}): give an object in each line, or one list of objects."
        ) from None


def _flat_record(record: Any, where: str) -> Record:
    """Flatten a record, as `Dataset.flatten` does: ``{"a": {"b": "text"}}`` becomes ``{"a.b": "text"}``."""
    if not isinstance(record, dict):
        raise InputError(
            f"{where}, is of type {type(record).__name__}, but must be an object with a value for each column."
        )
    flat: Record = {}
    for name, value in record.items():
        nested = _flat_record(value, where) if isinstance(value, dict) else None
        flat |= {name: value} if nested is None else {f"{name}.{key}": item for key, item in nested.items()}
    return flat


_RECORD_READERS: dict[str, Callable[[Path, NumberedLines, bool], Records]] = {
    ".tsv": _tsv_records,
    ".csv": _csv_records,
    ".json": _json_records,
    ".jsonl": _json_records,
}
TABLES = (*_RECORD_READERS, ".parquet")
"""The suffixes of the names of tables."""


def _load_parquet(path: Path, layout: Layout) -> Dataset:
    try:
        dataset = Dataset.from_parquet(glob.escape(str(path)))  # `datasets` takes a name with [ ] for a pattern
    except (ArrowInvalid, DatasetGenerationError) as error:
        raise InputError(
            f"{path} cannot be read as Parquet: {str(error.__cause__ or error).rstrip('.')}; give a Parquet file that "
            "is complete."
        ) from error
    with path.open("rb") as file:  # otherwise the fingerprint would depend on the modification time of the file
        dataset._fingerprint = hashlib.file_digest(file, "sha256").hexdigest()[:32]
    return select_columns(dataset, layout, str(path), path.parent)


def check_parquet(path: Path) -> None:
    """Raise `InputError` if the end of a Parquet file cannot be read, for example after an incomplete download."""
    try:
        ParquetFile(path).close()
    except (ArrowInvalid, OSError) as error:
        raise InputError(
            f"{path} cannot be read as Parquet: {first_line(error)}; give a Parquet file that is complete and readable."
        ) from error


def _load_hub_splits(name: str, config_name: str | None, layout: Layout, replaced: Sequence[str]) -> dict[str, Dataset]:
    """Load the splits of a dataset, except those in `replaced`, and except a split `test` without labels."""
    try:
        loaded = load_dataset(name, config_name)
    # the dataset or its configuration does not exist, the dataset is a script, a file is damaged, or the network fails
    except (OSError, RuntimeError, ValueError, DatasetGenerationError) as error:
        for file in sorted(Path(name).rglob("*.parquet")):
            check_parquet(file)
        reason = " ".join(str(error.__cause__ or error).split())
        raise InputError(
            f"The dataset {name!r} cannot be loaded: {reason.rstrip('.')}; check dataset_name, dataset_config_name and "
            "the connection to the Hub."
        ) from error
    if "train" not in loaded:
        raise InputError(
            f"The dataset {name!r} has no split 'train'; it has {', '.join(map(repr, loaded))}: give a dataset with a "
            "split 'train', or give the training data as train_file."
        )
    wanted = [split for split in ("train", "validation", "test") if split in loaded and split not in replaced]
    if "test" in wanted and _lacks_labels(loaded["test"], layout):
        print_in_main_process(f"The split 'test' of {name} is left out, as its rows have no labels.")
        wanted.remove("test")
    return {split: select_columns(loaded[split], layout, f"{name} ({split})", Path()) for split in wanted}


def _lacks_labels(dataset: Dataset, layout: Layout) -> bool:
    """Return whether a label column has -1 in all rows, as in a test split whose labels are not published."""
    names = [next((name for name in column.wanted if name in dataset.features), "") for column in layout.columns]
    classes = [name for name in names if isinstance(dataset.features.get(name), ClassLabel)]
    return any(pc.max(dataset.data.column(name)).as_py() == -1 for name in classes)


def select_columns(dataset: Dataset, layout: Layout, where: str, folder: Path, first: int = 1) -> Dataset:
    """Select the columns of `layout` from a table that `datasets` loaded, rename them, and convert their values.

    Args:
        dataset: the table.
        layout: the columns of the rows.
        where: the file or dataset of the table, for messages.
        folder: the folder to which paths in the table are relative.
        first: the number of the first row, for messages.

    Raises:
        InputError: the table has no rows, lacks a column, or has a value that cannot be converted.
    """
    if len(dataset) == 0:
        raise InputError(f"{where} holds no {layout.row}: give data with at least one {layout.row}.")
    images = [name for name, feature in dataset.features.items() if isinstance(feature, Image)]
    if not images:  # `flatten` would divide images into bytes and paths
        dataset = dataset.flatten()
    names = layout.find(dataset.column_names, where)
    for number, name in enumerate(names):
        if name in names[:number]:  # two columns of the layout are one column of the table
            names[number] = f"{name} as {layout.columns[number].name}"
            copied = dataset.select_columns([name]).rename_column(name, names[number])
            dataset = concatenate_datasets([dataset, copied], axis=1)
    dataset = dataset.select_columns(names)
    for column, name in zip(layout.columns, names, strict=True):
        dataset = _typed(dataset, column, name, where, folder, first)
    return dataset.rename_columns(dict(zip(names, (column.name for column in layout.columns), strict=True)))


def _typed(dataset: Dataset, column: Column, name: str, where: str, folder: Path, first: int) -> Dataset:
    """Convert the column `name` to `column.kind`; a column of kind `TEXT` or of type `Image` is not changed."""
    feature = dataset.features[name]
    is_text = getattr(feature, "dtype", None) in ("string", "large_string")
    if column.kind is TEXT and not is_text:
        raise InputError(
            f"{where}: column {name!r} holds {feature}, where text is expected: choose a column of text with "
            f"{column.name}_column."
        )
    if dataset.data.column(name).null_count:
        row = pc.index(pc.is_null(dataset.data.column(name)), True).as_py() + first
        raise InputError(
            f"{where}, row {row}: {name!r} is null, where {column.kind.expected} is expected: give a value, or remove "
            "the row."
        )
    if column.kind is TEXT or isinstance(feature, Image):
        return dataset
    item = getattr(feature, "feature", feature)  # if the column holds lists, the type of their items
    classes = item.names if isinstance(item, ClassLabel) else None

    def read(value: Any, row: int) -> dict[str, Any]:
        place = f"{where}, row {row + first}"
        if classes is not None:
            value = _class_names(value, classes, place, name)
        return {name: column.read(value, folder, place, name)}

    features = Features({**dataset.features, name: column.kind.feature})
    return dataset.map(read, input_columns=name, with_indices=True, features=features, desc=f"Reading {name}")


def _class_names(value: Any, classes: list[str], place: str, name: str) -> Any:
    """Return the name of a class that `datasets` stores as a number, or the names for a list of such numbers.

    Raises:
        InputError: the number is negative, which `datasets` allows for rows without a label.
    """
    if isinstance(value, list):
        return [_class_names(number, classes, place, name) for number in value]
    if value < 0:
        raise InputError(f"{place}: {name!r} is {value}, which stands for no label: give a split that has labels.")
    return classes[value]


def place_of(table: str, row: int) -> str:
    """Return a text for messages that says where a row is: `table`, and the place of the row in the table.

    In TSV, CSV and JSON files, the place is a line, or the number of an item if a JSON file holds one list. In other
    files and in datasets, the place is the number of the row.

    Args:
        table: the path of the file, or the name of the dataset.
        row: the number of the row, from 1 on.
    """
    path = Path(table).expanduser()
    has_lines = path.is_file() and format_of(path) in _RECORD_READERS
    places = (where for where, _ in islice(table_records(path), row - 1, row)) if has_lines else iter(())
    return next(places, f"{table}, row {row}")


def table_of(data: Any, split: str) -> str:
    """Return the name of the file or dataset from which the rows of a split come, for messages.

    `data` are the arguments of the section `data:`.
    """
    file = getattr(data, f"{split}_file")
    if file is None and data.dataset_name is not None:
        return f"{data.dataset_name} ({split})"
    return str(data.train_file if file is None else file)


def numbered(dataset: Dataset) -> Dataset:
    """Add the column ``line`` with the number of each row, from 1 on; if `dataset` has this column, keep it.

    For rows that were loaded from one file or from parallel files, this is the number of the row in the file.
    """
    return dataset if LINE in dataset.column_names else dataset.add_column(LINE, np.arange(1, len(dataset) + 1))


def _cut_validation(train: Dataset, layout: Layout, size: float, seed: int) -> tuple[Dataset, Dataset]:
    """Split off a share `size` of the rows for validation if `size` is below 1, or else `size` rows.

    Rows with equal values stay together, so that slightly fewer rows may be split off. Returns the remaining rows, and
    the rows that were split off.
    """
    wanted = max(1, round(size * len(train))) if 0 < size < 1 else int(size)
    copies = defaultdict(list)
    for row, values in enumerate(row_values(train, [column.name for column in layout.columns])):
        copies[values].append(row)
    groups = list(copies.values())
    random.Random(seed).shuffle(groups)

    cut: list[int] = []
    for group in groups:
        if len(cut) + len(group) <= wanted:
            cut += group
    if not 0 < len(cut) < len(train):
        raise InputError(
            f"validation_split {size:g} cuts {len(cut):,} of {len(train):,} training {layout.row}s, but training and "
            f"validation need at least one {layout.row} each: change validation_split, or give a validation_file."
        )
    kept = sorted(set(range(len(train))).difference(cut))
    return train.select(kept), train.select(sorted(cut))


def _cut_documents(train: Dataset, size: float) -> tuple[Dataset, Dataset]:
    """Split each document in two: the first part is for training, and the last part for validation.

    Args:
        train: the documents, in the column `text`.
        size: the approximate share of a document that becomes the last part, below 1.

    Returns:
        The first parts, and the last parts that hold any text.

    Raises:
        InputError: the first parts, or the last parts, hold no text.
    """
    begins, ends = (
        train.map(_part_of_document, fn_kwargs={"size": size, "is_end": is_end}) for is_end in (False, True)
    )
    rows = [row for row, text in enumerate(ends["text"]) if text.strip()]
    if not rows or not any(text.strip() for text in begins["text"]):
        raise InputError(
            f"validation_split {size:g} leaves no text for training or for validation in the {len(train):,} training "
            "documents: change validation_split, or give a validation_file."
        )
    return begins, ends.select(rows)


def _part_of_document(row: dict[str, Any], size: float, is_end: bool) -> dict[str, str]:
    """Return the first part of a document, or its last part if `is_end` is True.

    The place of the cut is near the character number n, where n is `1 - size` times the length of the document. The cut
    is after the last line feed between the middle of the document and character n, or else after the last space between
    them, or else at character n.
    """
    text = row["text"]
    middle = max(1, round(len(text) * (1 - size)))
    places = (text.rfind(mark, len(text) // 2, middle + 1) + 1 for mark in ("\n", " "))
    place = next((place for place in places if 0 < place < len(text)), middle)
    return {"text": text[place:] if is_end else text[:place]}


def row_values(dataset: Dataset, columns: Sequence[str]) -> Iterator[tuple]:
    """Yield the values of `columns` in each row as a hashable tuple, in which lists and images are tuples."""
    dataset = dataset.select_columns(list(columns))
    for name in columns:
        if isinstance(dataset.features[name], Image):
            dataset = dataset.cast_column(name, Image(decode=False))
    for batch in dataset.iter(1000):
        yield from zip(*(map(_comparable, batch[name]) for name in columns), strict=True)


def _comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(value.values())
    return tuple(value) if isinstance(value, list) else value
