# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Converts models of other families to Locant's models and back."""
