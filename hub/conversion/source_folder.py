# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Finds the files of a model in a folder or in a repository on the Hub; only the needed files are downloaded."""

import os
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, HTTPError, LocalEntryNotFoundError

from locant.utils.errors import first_line
from locant.utils.paths import looks_like_path

from ..errors import SharingError

_SETTINGS = ["*.json", "*.txt", "*.model", "*.spm", "*.jinja"]
_FOREIGN = ["*/*", "*.index.json"]


class SourceFolder:
    """Finds the settings of a model in a folder, or downloads them from a repository on the Hub.

    The settings are the configs, the tokenizer and the processors. transformers downloads the weights, with the
    arguments `hub`.

    Args:
        source: a folder, or the name of a repository.
        revision: branch, tag or commit of the repository.
        token: access token for a private repository.

    Attributes:
        source: the folder or the name, as given.
        folder: the folder with the settings.
        hub: the arguments `revision` and `token` of `from_pretrained` for a repository, with the commit that the
            settings are from; empty for a folder.

    Raises:
        SharingError: `source` is neither a folder nor a repository that can be read.
    """

    def __init__(self, source: str | os.PathLike[str], revision: str | None = None, token: str | bool | None = None):
        self.source = os.fspath(source)
        self.folder, self.hub = Path(self.source), dict[str, Any]()
        if self.folder.is_dir():
            return
        if looks_like_path(self.source):
            raise SharingError(
                f"{self.source} is not a folder: give a folder that holds a model, or the name of a repository on the "
                "Hub."
            )
        patterns: dict[str, Any] = {"allow_patterns": _SETTINGS, "ignore_patterns": _FOREIGN}
        try:
            self.folder = Path(snapshot_download(self.source, revision=revision, token=token, **patterns))
        except (HTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            raise SharingError(
                f"{self.source} is neither a local folder nor a repository on the Hub that can be read: "
                f"{first_line(error)}."
            ) from error
        self.hub = {"revision": self.folder.name, "token": token}  # the name of a folder in the cache is the commit

    def __str__(self) -> str:
        return self.source
