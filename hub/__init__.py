# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Pushes models to the Hub, runs pipelines, converts models of other families, and exports models to other engines."""
