# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Locant in transformers' Auto classes, and in PEFT's tables of what an adapter adapts by default."""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
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
    """Make the Auto classes know Locant, and PEFT."""
    register_models()
    register_adapter_targets()


def register_models() -> None:
    """Make the Auto classes know Locant."""
    AutoConfig.register(LocantConfig.model_type, LocantConfig, exist_ok=True)
    AutoModel.register(LocantConfig, ModelWithoutHead, exist_ok=True)
    for auto_class, model_class in _MODELS.items():
        auto_class.register(LocantConfig, model_class, exist_ok=True)
    if is_vision_available():  # without PIL, there is no AutoImageProcessor either
        AutoImageProcessor.register(LocantConfig, image_processor_classes={"pil": LocantImageProcessor}, exist_ok=True)
    # not for LocantConfig: AutoProcessor would then ask every text model for an image processor; a folder names it
    AutoProcessor.register(LocantProcessor, LocantProcessor, exist_ok=True)


_PEFT_TABLES = "peft.utils.constants"


def register_adapter_targets() -> None:
    """Give PEFT's methods their default targets in Locant's models, now or as soon as PEFT is imported.

    Importing it here would take time from everyone who has it and does not use it: 0.2 s by itself, more with the
    optional libraries that it looks for, each of which can also fail.
    """
    if _PEFT_TABLES in sys.modules:
        _enter_targets(sys.modules[_PEFT_TABLES])
    elif not any(isinstance(finder, _PeftWatcher) for finder in sys.meta_path):
        sys.meta_path.insert(0, _PeftWatcher())


def _enter_targets(constants: ModuleType) -> None:
    # the linear layers are named as Llama's, so each method adapts what it does there: LoRA q_proj and v_proj
    for name, table in vars(constants).items():
        if name.startswith("TRANSFORMERS_MODELS_TO_") and name.endswith("_MODULES_MAPPING") and "llama" in table:
            table.setdefault(LocantConfig.model_type, table["llama"])


class _PeftWatcher(MetaPathFinder):
    """Finds no module itself: when PEFT's tables are looked for, it sees to it that they are filled once loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _PEFT_TABLES:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_enter(module: ModuleType) -> None:
                load(module)
                _enter_targets(module)

            spec.loader.exec_module = load_and_enter  # type: ignore[method-assign]
        return spec
