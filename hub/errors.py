# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The error that the functions for sharing, converting and exporting models raise."""


class SharingError(ValueError):
    """A model, folder or repository cannot be shared, converted or exported; the message gives the reason."""
