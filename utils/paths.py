# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Distinguishes paths from the names of repositories on the Hub."""

import os


def looks_like_path(name: str | os.PathLike[str]) -> bool:
    """Whether `name` is meant as a path, and not as a repository (`model` or `owner/model`) on the Hub."""
    if isinstance(name, os.PathLike) or os.path.exists(name):
        return True
    first, *rest = name.split("/")
    is_path = name.startswith((".", "~", "/")) or "\\" in name or len(rest) > 1
    return is_path or (len(rest) == 1 and os.path.isdir(first))
