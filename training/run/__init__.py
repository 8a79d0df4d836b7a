# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A run of `locant train`: its steps in order, its folder, its Trainer, and its reports."""
