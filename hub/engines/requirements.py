# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The packages of the engines, which are imported only when one is used."""

import importlib
from typing import Any

from locant.hub.errors import SharingError


def needs(name: str) -> Any:
    """The module `name`, of a package that is no more than optional.

    Raises:
        SharingError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise SharingError(f"{package} is needed for this and is not there: pip install 'locant[export]'.") from error
