# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The message of an error as part of another message."""


def first_line(error: BaseException) -> str:
    """The first line of the message without a full stop at its end; the name of the class if there is no message."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
