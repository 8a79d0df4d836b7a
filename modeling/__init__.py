# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Attention, position encodings, layers, stacks and the public model classes."""

from .modeling_locant import LocantForConditionalGeneration, LocantModel, LocantPreTrainedModel

__all__ = ["LocantForConditionalGeneration", "LocantModel", "LocantPreTrainedModel"]
