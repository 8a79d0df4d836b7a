# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Reads checkpoints, and checks files, weights and sizes when a saved model is loaded."""
