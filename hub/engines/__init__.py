# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Exports of Locant models to other inference engines, CTranslate2 and ONNX."""
