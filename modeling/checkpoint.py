# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The weights in a folder, read one tensor at a time and checked before they are believed."""

import json
import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, WEIGHTS_INDEX_NAME, WEIGHTS_NAME

# In the order in which transformers looks for them
WEIGHT_FILES = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_NAME, WEIGHTS_INDEX_NAME)

_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "C64": "complex64",
    "BOOL": "bool",
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}
_LONGEST_HEADER = 100_000_000  # bytes; the library's own limit


class CheckpointError(ValueError):
    """A checkpoint that is not what it says it is; the message names the file or the tensor."""


class Entry(NamedTuple):
    """What is known of a tensor before it is read.

    Args:
        file: where it is stored.
        shape: its shape.
        dtype: its type; a name where torch has no such type.
    """

    file: Path
    shape: torch.Size
    dtype: torch.dtype | str


class Checkpoint:
    """The weights of a model on disk, in one file or in shards with an index; only headers are read to begin with.

    `.bin` files are read with `weights_only=True` and mapped into memory, so that no code in them runs.

    Args:
        files: `.safetensors` or `.bin` files, or the index (`.json`) of shards beside it.

    Raises:
        CheckpointError: a file that is missing, truncated, no checkpoint, or not of the kind that its name says; an
            index that names other files or tensors than there are.
    """

    def __init__(self, *files: str | os.PathLike[str]):
        self.file = Path(files[0])
        self._entries: dict[str, Entry] = {}
        self._opened: tuple[Path, _WeightsFile] | None = None  # one shard at a time
        for path in map(Path, files):
            if path.suffix == ".json":
                self._add_shards(path, _read_index(path))
            else:
                self._add(path)

    def _add(self, file: Path) -> None:
        for name, entry in _open(file).entries.items():
            if name in self._entries:
                raise CheckpointError(
                    f"The tensor {_short(name)} is stored twice, in {self._entries[name].file.name} and in "
                    f"{file.name}: one of them has to go."
                )
            self._entries[name] = entry

    def _add_shards(self, index: Path, shards: dict[str, Path]) -> None:
        for shard in dict.fromkeys(shards.values()):
            self._add(shard)
        for name, shard in shards.items():
            if name not in self._entries or self._entries[name].file != shard:
                raise CheckpointError(f"{index.name} says that {_short(name)} is in {shard.name}, which has none.")
        for name, entry in self._entries.items():
            if name not in shards:
                raise CheckpointError(f"{entry.file.name} holds {_short(name)}, which {index.name} does not list.")

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "Checkpoint":
        """The checkpoint in `folder`: safetensors before `.bin`, one file before shards, as transformers chooses.

        Raises:
            CheckpointError: there is none, or as above.
        """
        file = weights_file(folder)
        if file is not None:
            return cls(file)
        if not Path(folder).is_dir():
            raise CheckpointError(f"{_short(folder)} is not a folder: give one that holds {' or '.join(WEIGHT_FILES)}.")
        raise CheckpointError(f"{_short(folder)} holds no weights: expected one of {', '.join(WEIGHT_FILES)}.")

    @property
    def names(self) -> list[str]:
        """The names of all tensors."""
        return list(self._entries)

    def shape(self, name: str) -> torch.Size:
        """The shape of a tensor, from the header."""
        return self._entry(name).shape

    def dtype(self, name: str) -> torch.dtype:
        """The type of a tensor's numbers, from the header.

        Raises:
            CheckpointError: torch has no such type.
        """
        dtype = self._entry(name).dtype
        if isinstance(dtype, str):
            raise CheckpointError(f"The tensor {_short(name)} is of the type {dtype}, which torch does not know.")
        return dtype

    def read(self, name: str) -> torch.Tensor:
        """A tensor, on the CPU.

        Raises:
            CheckpointError: it is not of a floating-point type, or holds NaN or infinity; there is none of that name.
        """
        entry = self._entry(name)
        if not self.dtype(name).is_floating_point:
            raise CheckpointError(
                f"The tensor {_short(name)} in {entry.file.name} is of the type {_named(self.dtype(name))}, but "
                f"weights are floating-point numbers."
            )
        if self._opened is None or self._opened[0] != entry.file:
            self._opened = None
            self._opened = entry.file, _open(entry.file)
        tensor = self._opened[1].read(name)
        if not is_finite(tensor):
            raise CheckpointError(
                f"The tensor {_short(name)} in {entry.file.name} holds NaN or infinity: the weights are damaged, or "
                f"training had diverged when they were saved."
            )
        return tensor

    def _entry(self, name: str) -> Entry:
        if name not in self._entries:
            raise CheckpointError(f"{self.file.name} holds no tensor {_short(name)}.")
        return self._entries[name]


def weights_file(folder: str | os.PathLike[str], variant: str | None = None) -> Path | None:
    """The file in `folder` that weights are loaded from, or their index, if there is one."""
    for name in WEIGHT_FILES:
        stem, _, ending = name.rpartition(".")
        path = Path(folder) / (f"{stem}.{variant}.{ending}" if variant else name)
        if path.exists() or path.is_symlink():
            return path
    return None


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether all numbers of a floating-point tensor are finite, in one pass and without a copy."""
    if not tensor.numel():
        return True
    if tensor.dtype.itemsize == 1:  # float8, which has no minimum
        tensor = tensor.float()
    return all(bound.isfinite().item() for bound in tensor.detach().aminmax())  # NaN is both


class _SafetensorsFile:
    """The header of a safetensors file, which the library checks against the size of the file."""

    def __init__(self, path: Path):
        self._file: Any = safe_open(path, framework="pt")
        self.entries = {name: self._entry(path, self._file.get_slice(name)) for name in self._file.keys()}  # noqa: SIM118

    def read(self, name: str) -> torch.Tensor:
        return self._file.get_tensor(name)

    @staticmethod
    def _entry(path: Path, tensor: Any) -> Entry:
        dtype = tensor.get_dtype()
        return Entry(path, torch.Size(tensor.get_shape()), getattr(torch, _TYPES.get(dtype, ""), dtype))


class _TorchFile:
    """What `torch.save` wrote: a zip archive, mapped into memory, or the pickles of before torch 1.6, read whole."""

    def __init__(self, path: Path):
        is_archive = _start(path).startswith(b"PK")
        if is_archive:
            self._check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
        self._tensors = self._checked(path, state)
        self.entries = {name: Entry(path, value.shape, value.dtype) for name, value in self._tensors.items()}

    def read(self, name: str) -> torch.Tensor:
        return self._tensors[name].detach()

    @staticmethod
    def _check_archive(path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            for record in archive.infolist():
                if record.compress_type != zipfile.ZIP_STORED:  # torch compresses nothing
                    raise CheckpointError(f"{path.name} has a compressed record {_short(record.filename)}: refused.")

    @staticmethod
    def _checked(path: Path, state: Any) -> dict[str, torch.Tensor]:
        if not isinstance(state, dict):
            raise CheckpointError(f"{path.name} holds a {type(state).__name__}, not a dictionary of tensors by name.")
        for name, value in state.items():
            if not isinstance(name, str) or not isinstance(value, torch.Tensor):
                raise CheckpointError(
                    f"{path.name} holds a {type(value).__name__} at {_short(name)}, but weights are tensors by name."
                )
            if value.layout != torch.strided or value.is_quantized or value.is_meta:
                raise CheckpointError(
                    f"The tensor {_short(name)} in {path.name} is sparse, quantized or empty: save it dense."
                )
            if value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise CheckpointError(
                    f"The tensor {_short(name)} in {path.name} has the shape {_short(tuple(value.shape))}, but fewer "
                    f"numbers are stored."
                )
        return state


_WeightsFile = _SafetensorsFile | _TorchFile


def _open(path: Path) -> _WeightsFile:
    """The file at `path`, whose name and content are of one kind.

    Raises:
        CheckpointError: as `Checkpoint`.
    """
    try:
        kind, start = _kind_by_name(path), _start(path)
        _check_kind(path, kind, start)
        return _SafetensorsFile(path) if kind == "safetensors" else _TorchFile(path)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        found = f"holds {_short(code[1])}, and not weights alone: it might run code" if code else "is damaged"
        raise CheckpointError(f"{path.name} {found}, so it is not read.") from error
    except SafetensorError as error:
        raise CheckpointError(f"{path.name} {_what_is_wrong(path) or f'is damaged: {_first_line(error)}'}.") from error
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.name} is missing in {_short(path.parent)}.") from error
    except (OSError, EOFError, MemoryError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {_first_line(error)}.") from error
    except Exception as error:  # what torch and its unpickler raise on damaged files is of many kinds
        raise CheckpointError(f"{path.name} is truncated or damaged: {_first_line(error)}.") from error


def _kind_by_name(path: Path) -> str:
    return "safetensors" if path.suffix == ".safetensors" else "torch"


def _start(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(64)


def _check_kind(path: Path, kind: str, start: bytes) -> None:
    """Raise `CheckpointError` when the first bytes are of another kind of file than the name says."""
    found = None
    if not start:
        raise CheckpointError(f"{path.name} is empty.")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path.name} is a Git LFS pointer and not the weights: fetch them with `git lfs pull`.")
    if start.startswith(b"GGUF"):
        found = "a GGUF file"
    elif start[8:9] == b"{":
        found = "safetensors"
    elif start.startswith((b"PK\x03\x04", b"\x80")) and start[8:10] != b"{":
        found = "torch"
    elif start.lstrip()[:1] in (b"<", b"{"):
        found = "a text"
    if found not in (None, kind):
        what = {"safetensors": "a safetensors file", "torch": "a pickle of torch.save"}.get(str(found), found)
        raise CheckpointError(f"{path.name} is mislabelled: its content is {what}.")


def _what_is_wrong(path: Path) -> str | None:
    """What the library does not say about a file that it refuses: the tensor at fault."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or 8 + length > size or length > _LONGEST_HEADER:
            return f"is truncated or damaged: it has {size} bytes, and says that its header has {length}"
        try:
            header = json.loads(file.read(length))
            tensors = [(name, entry) for name, entry in header.items() if name != "__metadata__"]
            for name, entry in sorted(tensors, key=lambda item: item[1]["data_offsets"][1]):
                end = 8 + length + entry["data_offsets"][1]
                if end > size:
                    return f"is truncated: the tensor {_short(name)} ends at byte {end}, and the file at {size}"
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            return None
    return None


def _read_index(path: Path) -> dict[str, Path]:
    """Tensor to shard, as an index beside the shards says.

    Raises:
        CheckpointError: it is no index, or names files that are not beside it.
    """
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        files = index["weight_map"]
        is_map = isinstance(files, dict) and all(isinstance(file, str) for file in files.values())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.name} is missing in {_short(path.parent)}.") from error
    except (OSError, ValueError, RecursionError, LookupError, TypeError) as error:
        raise CheckpointError(f"{path.name} is no index of shards: {_first_line(error)}.") from error
    if not is_map or not files:
        raise CheckpointError(f"{path.name} is no index of shards: its weight_map must give each tensor a file's name.")
    check_shards(files)
    missing = sorted({file for file in files.values() if not (path.parent / file).is_file()})
    if missing:
        raise CheckpointError(f"{path.name} names {_short(missing[0])}, which is missing in {_short(path.parent)}.")
    return {name: path.parent / file for name, file in files.items()}


def check_shards(files: dict[str, str]) -> None:
    """Raise `CheckpointError` when an index puts tensors into what is not beside it."""
    for name, file in files.items():
        if not file.endswith((".safetensors", ".bin")) or set(file) & {"/", "\\", ":", "\0"}:
            raise CheckpointError(
                f"The index puts {_short(name)} into {_short(file)}, but shards are .safetensors or .bin files "
                f"beside it."
            )


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _short(value: Any, limit: int = 120) -> str:
    """What was given, in quotes, on one line and of a length that can be read."""
    text = repr(os.fspath(value)) if isinstance(value, os.PathLike) else repr(value)
    return text if len(text) <= limit else f"{text[: limit - 20]}…{text[-15:]}"


def _first_line(error: BaseException) -> str:
    lines = (line.strip() for line in str(error).splitlines())
    first = next((line for line in lines if line), type(error).__name__)
    return (first if len(first) <= 160 else first[:157] + "…").rstrip(".")
