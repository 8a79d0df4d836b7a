# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What every choice is called, its default and its check."""

from .configuration_locant import PRESETS, LocantConfig

__all__ = ["PRESETS", "LocantConfig"]
