# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The Transformer with its own attention and position encodings, at home in the Hugging Face ecosystem.

Importing `locant` registers its configuration and models with transformers' Auto classes.
"""

from importlib.metadata import version

from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM

from locant.configuration import LocantConfig
from locant.modeling import LocantForConditionalGeneration, LocantModel, LocantPreTrainedModel
from locant.tokenization import train_tokenizer

__version__ = version("locant")

AutoConfig.register("locant", LocantConfig, exist_ok=True)
AutoModel.register(LocantConfig, LocantModel, exist_ok=True)
AutoModelForSeq2SeqLM.register(LocantConfig, LocantForConditionalGeneration, exist_ok=True)

__all__ = [
    "LocantConfig",
    "LocantForConditionalGeneration",
    "LocantModel",
    "LocantPreTrainedModel",
    "train_tokenizer",
]
