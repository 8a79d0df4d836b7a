# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The tasks of `locant train`: a recipe and the options of each task."""
