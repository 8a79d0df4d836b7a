# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The exceptions that end a run: for an input of the user that cannot be used, and for the signal SIGTERM."""

import signal


class InputError(ValueError):
    """An option, file or other input of the user cannot be used.

    The message says what is wrong with the input, and usually how to correct the input. The command line prints the
    message to standard error and exits with status 2, without a traceback.
    """


class Terminated(SystemExit):
    """The signal SIGTERM ended the run. A program that does not catch this error exits with status 143.

    Args:
        explanation: a sentence that says how far the run is, and how to resume it.
    """

    code: int

    def __init__(self, explanation: str = ""):
        super().__init__(128 + signal.SIGTERM)
        self.explanation = explanation
