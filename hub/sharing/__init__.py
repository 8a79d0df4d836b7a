# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Saves the code and the model card with a model, and pushes models to the Hub."""
