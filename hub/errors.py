# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What goes wrong on the way out of a run's folder or into one."""


class SharingError(ValueError):
    """A model, folder or repository that cannot be shared, converted or exported, in one sentence that says why."""
