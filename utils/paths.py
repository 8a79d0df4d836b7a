# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Distinguishes paths from the names of repositories on the Hub."""

import os


def looks_like_path(name: str | os.PathLike[str]) -> bool:
    """Whether `name` exists as a path, or cannot be the name of a repository (`model` or `owner/model`) on the Hub."""
    if isinstance(name, os.PathLike) or os.path.exists(name):
        return True
    return name.startswith((".", "~", "/")) or "\\" in name or name.count("/") > 1
