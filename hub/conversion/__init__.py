# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Converts models of other families, such as BERT and T5, to Locant models and back."""
