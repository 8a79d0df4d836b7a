# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Data, metrics and recipes over the Hugging Face Trainer."""
