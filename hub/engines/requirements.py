# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Imports the optional packages of an engine when the engine is used."""

import importlib
from typing import Any

from ..errors import SharingError


def needs(name: str) -> Any:
    """Import the module `name` of an optional package.

    Raises:
        SharingError: the package is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise SharingError(
            f"{package} is needed to export models or to run exported models, but is not installed: pip install "
            "'locant[export]'."
        ) from error
