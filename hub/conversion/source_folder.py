# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Finds the files of a model in a folder or in a repository on the Hub; only the needed files are downloaded."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HFValidationError, HTTPError, LocalEntryNotFoundError

from locant.checkpoints.checkpoint_files import WEIGHT_FILES
from locant.utils.errors import first_line
from locant.utils.paths import looks_like_path

from ..errors import SharingError

_CONFIGS = ["config.json", "generation_config.json"]
_PROCESSORS = ["*.json", "*.txt", "*.model", "*.spm", "*.jinja"]
_FOREIGN = ["*/*", "*.index.json", "*.msgpack", "*.h5"]


class SourceFolder:
    """Finds the files of a model in a folder, or downloads them from a repository on the Hub.

    Args:
        source: a folder, or the name of a repository.
        revision: branch, tag or commit of the repository.
        token: access token for a private repository.

    Raises:
        SharingError: `source` is neither a folder nor a repository that can be read.
    """

    def __init__(self, source: str | os.PathLike[str], revision: str | None = None, token: str | bool | None = None):
        self.source = os.fspath(source)
        self.is_local = Path(self.source).is_dir()
        self._hub: dict[str, Any] = {"revision": revision, "token": token}
        if not self.is_local and looks_like_path(self.source):
            raise SharingError(
                f"{self.source} is not a folder: give a folder that holds a model, or the name of a repository on the "
                "Hub."
            )
        self.folder = self._get(_CONFIGS)

    def __str__(self) -> str:
        return self.source

    def with_weights(self) -> Path:
        """Return the folder that holds the weights; if the source is a repository, download them first.

        If the repository has safetensors files and `.bin` files, only the safetensors files are downloaded.
        """
        if not self.is_local:
            names = self._names()
            file = next((name for name in WEIGHT_FILES if name in names), WEIGHT_FILES[0])
            kind = file.removesuffix(".index.json").rpartition(".")[2]
            self._get([file, *(["*-of-*." + kind] if file.endswith(".index.json") else [])])
        return self.folder

    def with_processors(self) -> Path:
        """Return the folder of the model; if the model is on the Hub, download its tokenizer and processors first."""
        return self._get(_PROCESSORS, _FOREIGN)

    def _names(self) -> list[str]:
        try:
            return self._ask(HfApi().list_repo_files)
        except SharingError:
            cached = [path.name for path in self.folder.iterdir()]
            if not any(name in cached for name in WEIGHT_FILES):
                raise
            return cached  # the cache may hold the whole repository

    def _get(self, patterns: list[str], ignore: Sequence[str] = ("*/*",)) -> Path:
        if self.is_local:
            return Path(self.source)
        return Path(self._ask(snapshot_download, allow_patterns=patterns, ignore_patterns=[*ignore]))

    def _ask(self, request: Callable[..., Any], **options: Any) -> Any:
        """Call a function of huggingface_hub for the repository, and turn its errors into a `SharingError`."""
        try:
            return request(self.source, **self._hub, **options)
        except (HTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            raise SharingError(
                f"{self.source} is neither a local folder nor a repository on the Hub that can be read: "
                f"{first_line(error)}."
            ) from error
