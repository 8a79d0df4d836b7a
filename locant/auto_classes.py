# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Locant in transformers' Auto classes, and in PEFT's table of what LoRA adapts by default."""

from typing import Any

from transformers import (
    AutoConfig,
    AutoImageProcessor,
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
    AutoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import is_vision_available

from locant import modeling
from locant.configuration import LocantConfig
from locant.tokenization import LocantImageProcessor, LocantProcessor

_MODELS = {
    AutoModelForSeq2SeqLM: modeling.LocantForConditionalGeneration,
    AutoModelForImageTextToText: modeling.LocantForConditionalGeneration,
    AutoModelForCausalLM: modeling.LocantForCausalLM,
    AutoModelForMaskedLM: modeling.LocantForMaskedLM,
    AutoModelForSequenceClassification: modeling.LocantForSequenceClassification,
    AutoModelForTokenClassification: modeling.LocantForTokenClassification,
    AutoModelForQuestionAnswering: modeling.LocantForQuestionAnswering,
    AutoModelForImageClassification: modeling.LocantForImageClassification,
    AutoModelForTextEncoding: modeling.LocantEncoderModel,
}


class ModelWithoutHead:
    """What `AutoModel` makes of a Locant config, as one config serves all topologies: the model of its stacks."""

    config_class = LocantConfig

    @classmethod
    def from_pretrained(cls, path: str, *args: Any, config: PreTrainedConfig, **kwargs: Any) -> PreTrainedModel:
        """A trained one."""
        return cls._class_for(config).from_pretrained(path, *args, config=config, **kwargs)

    @classmethod
    def _from_config(cls, config: PreTrainedConfig, **kwargs: Any) -> PreTrainedModel:
        return cls._class_for(config)._from_config(config, **kwargs)

    @staticmethod
    def _class_for(config: Any) -> type[PreTrainedModel]:
        if config.is_encoder_decoder:
            return modeling.LocantModel
        return modeling.LocantDecoderModel if config.is_decoder else modeling.LocantEncoderModel


def register() -> None:
    """Make the Auto classes know Locant."""
    AutoConfig.register(LocantConfig.model_type, LocantConfig, exist_ok=True)
    AutoModel.register(LocantConfig, ModelWithoutHead, exist_ok=True)
    for auto_class, model_class in _MODELS.items():
        auto_class.register(LocantConfig, model_class, exist_ok=True)
    if is_vision_available():  # without PIL, there is no AutoImageProcessor either
        AutoImageProcessor.register(LocantConfig, image_processor_classes={"pil": LocantImageProcessor}, exist_ok=True)
    # not for LocantConfig: AutoProcessor would then ask every text model for an image processor; a folder names it
    AutoProcessor.register(LocantProcessor, LocantProcessor, exist_ok=True)
