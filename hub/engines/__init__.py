# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Exports Locant models for other inference engines: to CTranslate2, and to ONNX."""
