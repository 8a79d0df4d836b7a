# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A Transformer with its own attention and position encodings, for use with the Hugging Face libraries.

Importing `locant` registers its configuration, models, tokenizer and processors with transformers' Auto classes.
"""

import os
from importlib.metadata import version

import locant.configuration.supported_transformers  # noqa: F401  # first, as it checks the version of transformers
from locant.auto_classes import register, warn_of_derived
from locant.checkpoints.load_checks import check_weights, fault_of_files
from locant.checkpoints.model_sizes import check_size
from locant.configuration import LocantConfig
from locant.hub.conversion.conversion import convert
from locant.hub.engines.exporting import export
from locant.hub.pipelines.pipelines import pipeline
from locant.hub.sharing.bundle import disable_bundling, enable_bundling, write_bundle
from locant.hub.sharing.model_card import write_card_of_push, write_model_card
from locant.hub.sharing.push import push
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
from locant.tokenization import (
    LocantImageProcessor,
    LocantProcessor,
    LocantTextIteratorStreamer,
    LocantTextStreamer,
    LocantTokenizer,
    train_tokenizer,
)
from locant.train_function import train
from locant.visualize_function import visualize

__version__ = version("locant")

register()
LocantPreTrainedModel.build_hooks.append(check_size)
LocantPreTrainedModel.load_hooks.append(check_weights)
LocantPreTrainedModel.load_hooks.append(warn_of_derived)
LocantPreTrainedModel.fault_hooks.append(fault_of_files)
LocantPreTrainedModel.save_hooks.append(write_bundle)
LocantPreTrainedModel.push_hooks.append(write_card_of_push)
if os.environ.get("LOCANT_BUNDLE") == "0":
    disable_bundling()
else:
    enable_bundling()

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
    "LocantTextIteratorStreamer",
    "LocantTextStreamer",
    "LocantTokenizer",
    "convert",
    "disable_bundling",
    "enable_bundling",
    "export",
    "pipeline",
    "push",
    "train",
    "train_tokenizer",
    "visualize",
    "write_model_card",
]
