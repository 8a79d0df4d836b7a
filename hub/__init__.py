# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Sharing: what leaves home and what comes in."""
