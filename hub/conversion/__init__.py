# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Conversion between Locant's models and those of other families."""
