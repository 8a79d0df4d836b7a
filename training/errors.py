# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The error that a user's input causes."""


class InputError(ValueError):
    """An option, file or other input of the user cannot be used.

    The message is one sentence that says which input was given, which is expected, and how to correct it.

    The command line prints the sentence to standard error and exits with status 2, without a traceback.
    """
