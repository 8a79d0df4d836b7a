# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Formats the message of an error as part of another message."""

import re

from huggingface_hub.errors import StrictDataclassError


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without its full stop; if the message is empty, the class name."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


def reason_of(error: BaseException) -> str:
    """Return the first line of an error's message, or, for a `StrictDataclassError`, of the message of its cause.

    A strict config class raises a `StrictDataclassError` if a check of one field, or of the whole config, fails; its
    cause is the error that the check raised. If the message of the `StrictDataclassError` names a field, the returned
    text begins with the name of this field and a colon.
    """
    if not isinstance(error, StrictDataclassError):
        return first_line(error)
    field = re.search(r"field '(\w+)'", str(error))
    return (f"{field[1]}: " if field else "") + first_line(error.__cause__ or error)


def sentence(text: str) -> str:
    """Return `text` with a full stop at its end, unless it ends with a full stop, question mark or exclamation mark."""
    return text if text.endswith((".", "?", "!")) else f"{text}."
