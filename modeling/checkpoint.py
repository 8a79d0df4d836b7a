# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The weights in a folder, read one tensor at a time and checked before they are believed."""


class CheckpointError(ValueError):
    """A checkpoint that is not what it says it is; the message names the file or the tensor."""
