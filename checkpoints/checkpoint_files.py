# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Reads the weights in a checkpoint folder one tensor at a time, and checks each tensor before it is returned."""

import functools
import json
import os
import re
import textwrap
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers.modeling_utils import load_state_dict
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, WEIGHTS_INDEX_NAME, WEIGHTS_NAME

# Names of weights files and of shard indexes, in the order in which transformers looks for them
WEIGHT_FILES = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_NAME, WEIGHTS_INDEX_NAME)

_SAFETENSORS, _PICKLE = "a safetensors file", "a pickle of torch.save"
# Pattern of the first bytes of a file -> the kind of file that begins with these bytes, for error messages
_CONTENTS = {
    rb"version https://git-lfs": "a Git LFS pointer, which `git lfs pull` replaces with the weights",
    rb"GGUF": "a GGUF file",
    rb".{8}\{": _SAFETENSORS,
    rb"PK\x03\x04|\x80": _PICKLE,
    rb"\s*[<{]": "a text",
}
_LONGEST_HEADER = 100_000_000  # bytes; the limit of the library safetensors


class CheckpointError(ValueError):
    """A file or weight of a saved model is missing, damaged or mislabelled; the message names the file or weight."""


class Checkpoint:
    """Reads the weights of a model from files, or from the shards that an index names.

    Opening a checkpoint reads the names, shapes and dtypes of its tensors, and `read` reads the values of one tensor.
    `.bin` files are read with `weights_only=True`, so that no code in them runs. They are mapped into memory, except
    files in the format that PyTorch had before version 1.6: these files are read whole when they are opened.

    Args:
        files: one or several `.safetensors` or `.bin` files; or the index (`.json`) of shards, which are in the folder
            of the index.

    Attributes:
        file: the path of the first of `files`.
        headers: a dict from the name of each stored tensor to a tensor on the meta device that has the shape and dtype
            of the stored tensor.

    Raises:
        CheckpointError: a file is missing, truncated, not a checkpoint, or of another kind than its suffix says; a file
            does not hold a dict of dense tensors; two files have a tensor of the same name; an index cannot be read, or
            names files or tensors that do not exist.
    """

    def __init__(self, *files: str | os.PathLike[str]):
        self.file, self.headers = Path(files[0]), dict[str, torch.Tensor]()
        self._files: dict[str, Path] = {}
        self._open = functools.lru_cache(maxsize=1)(_open)  # keeps one shard open at a time
        places = _read_index(self.file) if self.file.suffix == ".json" else {}
        for file in dict.fromkeys(places.values()) or map(Path, files):
            for name, header in self._open(file)[0].items():
                first = self._files.setdefault(name, file).name
                if name in self.headers:
                    raise CheckpointError(
                        f"The tensor {_short(name)} is stored twice, in {first} and in {file.name}: remove it from "
                        "one file."
                    )
                self.headers[name] = header
        for name, file in places.items():
            if self._files.get(name) != file:
                raise CheckpointError(
                    f"{self.file.name} says that {_short(name)} is in {file.name}, which has no tensor of this name: "
                    "give an index and shards of the same checkpoint."
                )

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "Checkpoint":
        """Open the checkpoint in `folder`.

        If the folder has weights in several forms, safetensors files are preferred to `.bin` files, and a single file
        is preferred to shards, as in transformers.

        Raises:
            CheckpointError: the folder does not exist, holds no weights, or holds weights that cannot be opened.
        """
        file = weights_file(folder)
        if file is None:
            what = "holds no weights" if Path(folder).is_dir() else "is not a folder"
            raise CheckpointError(f"{_short(folder)} {what}: give a folder with one of {', '.join(WEIGHT_FILES)}.")
        return cls(file)

    def read(self, name: str) -> torch.Tensor:
        """Read the tensor `name` into CPU memory.

        Raises:
            CheckpointError: no tensor has that name; the tensor is not of a floating-point type, or holds NaN or
                infinity; the file cannot be read any more.
        """
        if name not in self.headers:
            raise CheckpointError(f"{self.file.name} holds no tensor {_short(name)}: choose a name in `headers`.")
        return self.checked(name, self._open(self._files[name])[1](name))

    def checked(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Check `tensor`, which holds the values of the stored tensor `name` in any dtype, and return `tensor`.

        Raises:
            CheckpointError: the stored tensor is not of a floating-point type; `tensor` holds NaN or infinity.
        """
        where, dtype = f"The tensor {_short(name)} in {self._files[name].name}", self.headers[name].dtype
        if not dtype.is_floating_point:
            kind = str(dtype).removeprefix("torch.")
            raise CheckpointError(
                f"{where} is of the type {kind}, but weights are floating-point numbers: save it in such a type, for "
                "example as float32."
            )
        if not is_finite(tensor):
            if tensor.dtype != dtype and tensor.dtype.itemsize < dtype.itemsize:
                kind, stored = (str(each).removeprefix("torch.") for each in (tensor.dtype, dtype))
                raise CheckpointError(f"{where} is not finite in {kind}: load the model with dtype={stored}.")
            raise CheckpointError(
                f"{where} holds NaN or infinity: give an earlier checkpoint if training diverged, or an undamaged file."
            )
        return tensor


def weights_file(folder: str | os.PathLike[str], variant: str | None = None) -> Path | None:
    """Find the path of the weights file in `folder`, or of the index of shards; None if the folder has neither.

    Args:
        folder: a folder, which need not exist.
        variant: as in `from_pretrained`: with `fp16`, the file is `model.fp16.safetensors`, for example.
    """
    names = [f".{variant}.".join(name.rsplit(".", 1)) if variant else name for name in WEIGHT_FILES]
    paths = (Path(folder, name) for name in names)
    return next((path for path in paths if path.exists() or path.is_symlink()), None)


def is_finite(tensor: torch.Tensor) -> bool:
    """Return whether all numbers of a floating-point tensor are finite.

    The tensor is read in one pass. It is not copied, except for a float8 tensor, which is converted to float32.
    """
    # torch has no aminmax for float8
    ordered = tensor.float() if tensor.dtype.itemsize == 1 else tensor.detach()
    # if one number is NaN, both bounds are NaN
    return not tensor.numel() or all(bound.isfinite().item() for bound in ordered.aminmax())


def check_places(files: dict[str, str]) -> None:
    """Check that an index of shards names only `.safetensors` and `.bin` files in its own folder.

    Args:
        files: the `weight_map` of the index: tensor name -> file name.

    Raises:
        CheckpointError: the index names a file with another suffix, or a path in another folder.
    """
    for name, file in files.items():
        if not file.endswith((".safetensors", ".bin")) or set(file) & {"/", "\\", ":", "\0"}:
            raise CheckpointError(
                f"The index puts {_short(name)} into {_short(file)}, but a shard must be a .safetensors or .bin file "
                "in the folder of the index."
            )


def _open(path: Path) -> tuple[dict[str, torch.Tensor], Callable[[str], torch.Tensor]]:
    """Return a dict of a weights file's tensors on the meta device, and a function that reads a tensor by its name.

    Raises:
        CheckpointError: the file cannot be read, is damaged or mislabelled, or does not hold a dict of dense tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_state_dict(path, map_location="meta"), safe_open(path, framework="pt").get_tensor
        state = _read_pickle(path)
        return {name: tensor.to("meta") for name, tensor in state.items()}, state.__getitem__
    except CheckpointError:
        raise
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {_line(error)}.") from error
    except Exception as error:  # safetensors, torch and its unpickler raise errors of many types on damaged files
        raise CheckpointError(f"{path.name} {_fault(path, error)}.") from error


def _read_pickle(path: Path) -> dict[str, torch.Tensor]:
    """Read the dict in a `torch.save` file; a zip archive is mapped into memory, an older pickle is read whole."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(record.compress_type != zipfile.ZIP_STORED for record in archive.infolist()):
                raise CheckpointError(
                    f"{path.name} has a compressed record, which torch.save does not write: save the weights again."
                )
    state: Any = load_state_dict(path)
    if not isinstance(state, dict):
        raise CheckpointError(
            f"{path.name} holds a {type(state).__name__}, not a dictionary from names to tensors: save the state_dict "
            "of the model."
        )
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            what = f"a {type(value).__name__} at {_short(name)}"
            raise CheckpointError(
                f"{path.name} holds {what}, but weights are tensors with strings as keys: save only the state_dict of "
                "the model."
            )
        is_dense = value.layout == torch.strided and not value.is_quantized and not value.is_meta
        if not is_dense or value.numel() * value.element_size() > value.untyped_storage().nbytes():
            fault = (
                "is sparse, quantized or on the meta device, or fewer numbers are stored than its shape says: save it "
                "as a dense tensor with all its numbers"
            )
            raise CheckpointError(f"The tensor {_short(name)} in {path.name} {fault}.")
    return {name: tensor.detach() for name, tensor in state.items()}


def _fault(path: Path, error: Exception) -> str:
    """Describe the fault of a file that could not be read: the rest of a sentence that begins with the file's name."""
    expected = _SAFETENSORS if path.suffix == ".safetensors" else _PICKLE
    with open(path, "rb") as file:
        start = file.read(64)
    found = next((what for pattern, what in _CONTENTS.items() if re.match(pattern, start, re.DOTALL)), expected)
    if not start or found != expected:
        return f"is mislabelled: its content is {found}, but its suffix is that of {expected}" if start else "is empty"
    if expected == _SAFETENSORS:
        return _fault_of_header(path) or f"is damaged: {_line(error)}"
    if code := re.search(r"GLOBAL (\S+)", str(error)):
        return (
            f"holds {_short(code[1])}, a Python object that might run code, so the file is not read: save only tensors"
        )
    return f"is truncated or damaged: {_line(error)}"


def _fault_of_header(path: Path) -> str | None:
    """Find the fault of a safetensors file that is shorter than its header says, or whose header is too long.

    Returns:
        The rest of a sentence that begins with the file's name. If the header is whole and a tensor is cut off, the
        text names the first such tensor. None if the file has another fault, or if its header cannot be parsed.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or 8 + length > size or length > _LONGEST_HEADER:
            return f"is truncated or damaged: it has {size} bytes, and says that its header has {length}"
        header = file.read(length)
    with suppress(ValueError, RecursionError, LookupError, TypeError, AttributeError):
        entries = {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
        ends = {name: 8 + length + entry["data_offsets"][1] for name, entry in entries.items()}
        end, name = min((end, name) for name, end in ends.items() if end > size)
        return f"is truncated: the tensor {_short(name)} ends at byte {end}, but the file ends at byte {size}"
    return None


def _read_index(path: Path) -> dict[str, Path]:
    """Read an index of shards: a dict from the name of each tensor to the path of the shard that contains it.

    Raises:
        CheckpointError: the file is not an index, or names a file that is not a `.safetensors` or `.bin` file in the
            folder of the index.
    """
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
    except (OSError, ValueError, RecursionError, LookupError, TypeError) as error:
        raise CheckpointError(f"{path.name} is no index of shards: {_line(error)}.") from error
    if not isinstance(files, dict) or not files or not all(isinstance(file, str) for file in files.values()):
        raise CheckpointError(
            f"{path.name} is no index of shards: its weight_map must give each tensor a file name, and not be empty."
        )
    check_places(files)
    return {name: path.parent / file for name, file in files.items()}


def _short(value: Any, limit: int = 120) -> str:
    """Return the `repr` of a value, without its middle if it is longer than `limit` characters."""
    text = repr(os.fspath(value)) if isinstance(value, os.PathLike) else repr(value)
    return text if len(text) <= limit else f"{text[: limit - 20]}…{text[-15:]}"


def _line(error: BaseException) -> str:
    return textwrap.shorten(str(error) or type(error).__name__, 160, placeholder="…").rstrip(".")
