# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Attention, position encodings, layers, stacks and the public model classes."""

from .modeling_locant import LocantForConditionalGeneration, LocantModel, LocantPreTrainedModel
from .modeling_locant_decoder import LocantDecoderModel, LocantForCausalLM
from .modeling_locant_encoder import (
    LocantEncoderModel,
    LocantForMaskedLM,
    LocantForQuestionAnswering,
    LocantForSequenceClassification,
    LocantForTokenClassification,
)
from .modeling_locant_image import LocantForImageClassification

__all__ = [
    "LocantDecoderModel",
    "LocantEncoderModel",
    "LocantForCausalLM",
    "LocantForConditionalGeneration",
    "LocantForImageClassification",
    "LocantForMaskedLM",
    "LocantForQuestionAnswering",
    "LocantForSequenceClassification",
    "LocantForTokenClassification",
    "LocantModel",
    "LocantPreTrainedModel",
]
