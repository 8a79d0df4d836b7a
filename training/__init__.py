# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Training and evaluation of models for each task, on top of the Hugging Face Trainer."""
