# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The error that a user's input causes."""


class InputError(ValueError):
    """Something a user gave cannot be used: one sentence with what was given, what is expected, how to mend it.

    The command line prints the sentence to standard error and exits with status 2, without a traceback.
    """
