# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Maps transformers' Auto classes to the Locant classes that they build, with one dict for each kind of model."""

from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForImageTextToText,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
    AutoModelForTokenClassification,
)

from locant.configuration.configuration_locant import LocantConfig
from locant.modeling.modeling_locant import LocantForConditionalGeneration, LocantModel
from locant.modeling.modeling_locant_decoder import LocantDecoderModel, LocantForCausalLM
from locant.modeling.modeling_locant_encoder import (
    LocantEncoderModel,
    LocantForMaskedLM,
    LocantForQuestionAnswering,
    LocantForSequenceClassification,
    LocantForTokenClassification,
)
from locant.modeling.modeling_locant_image import LocantForImageClassification
from locant.modeling.pretrained import LocantPreTrainedModel

Models = dict[type, type[LocantPreTrainedModel]]

TRANSLATOR: Models = {AutoModel: LocantModel, AutoModelForSeq2SeqLM: LocantForConditionalGeneration}
CAPTIONER: Models = {**TRANSLATOR, AutoModelForImageTextToText: LocantForConditionalGeneration}
DECODER: Models = {AutoModel: LocantDecoderModel, AutoModelForCausalLM: LocantForCausalLM}
TEXT_ENCODER: Models = {
    AutoModel: LocantEncoderModel,
    AutoModelForTextEncoding: LocantEncoderModel,
    AutoModelForMaskedLM: LocantForMaskedLM,
    AutoModelForSequenceClassification: LocantForSequenceClassification,
    AutoModelForTokenClassification: LocantForTokenClassification,
    AutoModelForQuestionAnswering: LocantForQuestionAnswering,
}
IMAGE_ENCODER: Models = {
    AutoModel: LocantEncoderModel,
    AutoModelForImageClassification: LocantForImageClassification,
}


def auto_models(config: LocantConfig) -> Models:
    """Return a dict from each Auto class that can build a model of this config to the model class that it builds."""
    if config.is_encoder_decoder:
        return TRANSLATOR if config.encoder_input == "tokens" else CAPTIONER
    if config.is_decoder:
        return DECODER
    return TEXT_ENCODER if config.encoder_input == "tokens" else IMAGE_ENCODER
