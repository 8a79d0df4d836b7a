# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The Transformer with its own attention and position encodings, at home in the Hugging Face ecosystem.

Importing `locant` registers its configuration and models with transformers' Auto classes.
"""

from importlib.metadata import version

from locant.auto_classes import register
from locant.configuration import LocantConfig
from locant.hub.pipeline_entries import write_pipelines
from locant.hub.pipelines import pipeline
from locant.modeling import (
    LocantDecoderModel,
    LocantEncoderModel,
    LocantForCausalLM,
    LocantForConditionalGeneration,
    LocantForImageClassification,
    LocantForMaskedLM,
    LocantForQuestionAnswering,
    LocantForSequenceClassification,
    LocantForTokenClassification,
    LocantModel,
    LocantPreTrainedModel,
)
from locant.tokenization import LocantImageProcessor, LocantProcessor, train_tokenizer

__version__ = version("locant")

register()
LocantPreTrainedModel.save_hooks.append(write_pipelines)

__all__ = [
    "LocantConfig",
    "LocantDecoderModel",
    "LocantEncoderModel",
    "LocantForCausalLM",
    "LocantForConditionalGeneration",
    "LocantForImageClassification",
    "LocantForMaskedLM",
    "LocantForQuestionAnswering",
    "LocantForSequenceClassification",
    "LocantForTokenClassification",
    "LocantImageProcessor",
    "LocantModel",
    "LocantPreTrainedModel",
    "LocantProcessor",
    "pipeline",
    "train_tokenizer",
]
