# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The configuration of Locant's models: the names, defaults and checks of its fields and position encodings."""

from .configuration_locant import PRESETS, LocantConfig

__all__ = ["PRESETS", "LocantConfig"]
