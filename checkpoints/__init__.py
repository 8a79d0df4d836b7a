# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Reads checkpoints; checks the files and weights of saved models, and the size of a model before it is built."""
