# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The message of an error as part of another message."""

import re

from huggingface_hub.errors import StrictDataclassError


def first_line(error: BaseException) -> str:
    """The first line of the message without a full stop at its end; the name of the class if there is no message."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


def reason_of(error: BaseException) -> str:
    """As `first_line`; for an error of a strict config class, the field's name and the message of the check's error."""
    if not isinstance(error, StrictDataclassError):
        return first_line(error)
    field = re.search(r"field '(\w+)'", str(error))
    return (f"{field[1]}: " if field else "") + first_line(error.__cause__ or error)


def sentence(text: str) -> str:
    """`text` with a full stop at its end, unless it ends with a punctuation mark."""
    return text if text.endswith((".", "?", "!")) else f"{text}."
