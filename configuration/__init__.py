# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The configuration of Locant's models: its fields, its presets, and the names and options of position encodings."""

from .configuration_locant import PRESETS, LocantConfig

__all__ = ["PRESETS", "LocantConfig"]
