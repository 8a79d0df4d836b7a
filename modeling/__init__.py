# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Attention, position encodings, layers, stacks and the public model classes."""

from .beam_search import search_beams
from .blockwise import blockwise_attention
from .cache import make_room
from .generation import LocantGenerationMixin
from .image_encoder import LocantImageEncoder
from .modeling_locant import LocantForConditionalGeneration, LocantModel
from .modeling_locant_decoder import LocantDecoderModel, LocantForCausalLM
from .modeling_locant_encoder import (
    LocantEncoderModel,
    LocantForMaskedLM,
    LocantForQuestionAnswering,
    LocantForSequenceClassification,
    LocantForTokenClassification,
)
from .modeling_locant_image import LocantForImageClassification
from .positions import PositionEncoding, register_position_encoding
from .pretrained import LocantPreTrainedModel
from .stacks import LocantDecoder, LocantEncoder

LocantGenerationMixin.search_beams = staticmethod(search_beams)
LocantGenerationMixin.make_room = staticmethod(make_room)

__all__ = [
    "LocantDecoder",
    "LocantDecoderModel",
    "LocantEncoder",
    "LocantEncoderModel",
    "LocantForCausalLM",
    "LocantForConditionalGeneration",
    "LocantForImageClassification",
    "LocantForMaskedLM",
    "LocantForQuestionAnswering",
    "LocantForSequenceClassification",
    "LocantForTokenClassification",
    "LocantImageEncoder",
    "LocantModel",
    "LocantPreTrainedModel",
    "PositionEncoding",
    "blockwise_attention",
    "register_position_encoding",
]
