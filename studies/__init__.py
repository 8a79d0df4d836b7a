# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The code of `locant study`, which compares position encodings, and of `locant search`, the hyperparameter search."""
