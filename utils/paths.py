# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Distinguishes paths from the names of repositories on the Hub."""

import os


def looks_like_path(name: str | os.PathLike[str]) -> bool:
    """Return whether `name` is meant as a path, and not as the name of a repository on the Hub.

    A path is a path object, a path that exists, or a text that begins with `.`, `~` or `/`, contains a backslash, or
    contains more than one slash.
    """
    if isinstance(name, os.PathLike) or os.path.exists(name):
        return True
    return name.startswith((".", "~", "/")) or "\\" in name or name.count("/") > 1
