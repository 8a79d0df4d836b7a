# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Registers Locant's classes with the Auto classes, a callback with `Trainer`, and default target modules with PEFT."""

from pathlib import Path
from types import ModuleType
from typing import Any

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedModel,
    dynamic_module_utils,
)
from transformers.models.auto.video_processing_auto import AutoVideoProcessor  # importable without torchvision
from transformers.utils import is_vision_available, logging

from locant import modeling
from locant.configuration import LocantConfig
from locant.hub.pipelines.pipelines import PIPELINES
from locant.hub.sharing.auto_map import CAPTIONER, DECODER, IMAGE_ENCODER, TEXT_ENCODER, auto_models
from locant.hub.sharing.flat_code import PREFIX
from locant.imports import when_imported
from locant.tokenization import LocantImageProcessor, LocantProcessor, LocantTokenizer

logger = logging.get_logger(__name__)


class ModelWithoutHead:
    """The class registered with `AutoModel` for `LocantConfig`; it makes a model of the class that fits the config.

    `AutoModel` allows one class for each config class, but the fields of a `LocantConfig` decide which class without a
    head is needed, such as `LocantModel` or `LocantDecoderModel`.
    """

    config_class = LocantConfig

    @classmethod
    def from_pretrained(cls, path: str, *args: Any, config: Any, **kwargs: Any) -> PreTrainedModel:
        """Load the model in the folder or repository `path`, with the model class that fits `config`."""
        return auto_models(config)[AutoModel].from_pretrained(path, *args, config=config, **kwargs)

    @classmethod
    def _from_config(cls, config: Any, **kwargs: Any) -> PreTrainedModel:
        return auto_models(config)[AutoModel]._from_config(config, **kwargs)


class NoVideoProcessor:
    """The video processor that is registered for `LocantConfig`; its `from_pretrained` always raises `ValueError`.

    Image pipelines try to load a video processor. Without this class, and with `trust_remote_code=True`, transformers
    would import the code files of the model's folder to find a video processor.
    """

    @classmethod
    def from_pretrained(cls, path: str, *args: Any, **kwargs: Any) -> None:
        """Raise `ValueError`. Pipelines catch this error and continue without a video processor."""
        raise ValueError(f"{path} has a Locant model, which reads no videos: use AutoTokenizer or AutoImageProcessor.")


def register() -> None:
    """Register Locant's classes with the Auto classes, a callback with `Trainer`, and target modules with PEFT.

    The function also makes transformers use the installed classes instead of the code files of a model's folder.
    """
    register_models()
    use_installed_classes()
    when_imported("peft.utils.constants", _enter_targets)
    when_imported("transformers.trainer", _enter_callback)


def register_models() -> None:
    """Register the config, the models, the tokenizer and the processors with the Auto classes."""
    AutoConfig.register(LocantConfig.model_type, LocantConfig, exist_ok=True)
    models: dict[Any, type] = {**CAPTIONER, **DECODER, **TEXT_ENCODER, **IMAGE_ENCODER, AutoModel: ModelWithoutHead}
    for auto_class, model_class in models.items():
        auto_class.register(LocantConfig, model_class, exist_ok=True)
    if is_vision_available():  # without PIL, AutoImageProcessor is a placeholder whose methods raise ImportError
        AutoImageProcessor.register(LocantConfig, image_processor_classes={"pil": LocantImageProcessor}, exist_ok=True)
        AutoVideoProcessor.register(LocantConfig, NoVideoProcessor, exist_ok=True)
    # with LocantConfig as the key, AutoProcessor would look for an image processor in the folder of a text model; with
    # LocantProcessor as the key, AutoProcessor finds the class by the field `processor_class` of a saved processor
    AutoProcessor.register(LocantProcessor, LocantProcessor, exist_ok=True)
    # AutoTokenizer finds the class by the field `tokenizer_class` of a saved tokenizer; if LocantConfig were the key,
    # AutoTokenizer would, with `trust_remote_code=True`, prefer the code files of a model's folder to this class
    AutoTokenizer.register(LocantTokenizer, LocantTokenizer, exist_ok=True)


def use_installed_classes() -> None:
    """Make transformers use the installed Locant classes instead of executing code files of a model's folder.

    The Auto classes already prefer the installed classes, which are registered with them. Pipeline classes that a
    config names under `custom_pipelines` cannot be registered, so this function wraps `get_class_in_module`, by which
    transformers imports a class from a code file.
    """
    models = {**CAPTIONER, **DECODER, **TEXT_ENCODER, **IMAGE_ENCODER}.values()
    classes = [LocantConfig, LocantImageProcessor, LocantProcessor, LocantTokenizer, *models, *PIPELINES.values()]
    installed = {cls.__name__: cls for cls in classes}
    load = dynamic_module_utils.get_class_in_module

    def get_class_in_module(class_name: str, module_path: Any, **kwargs: Any) -> type:
        cls = installed.get(class_name)
        if cls is not None:
            name = cls.__module__.rpartition(".")[2]
            # a file of another name holds another class of the same name, such as another TranslationPipeline
            if Path(module_path).stem in (name, f"{PREFIX}_{name}"):
                return cls
        return load(class_name, module_path, **kwargs)

    dynamic_module_utils.get_class_in_module = get_class_in_module


def warn_of_derived(model: PreTrainedModel, *_: Any) -> None:
    """Warn if the folder of a model names a derived class, but Locant's class was loaded.

    The Auto classes load Locant's class, which is registered with them, whatever `trust_remote_code` says.
    `LocantPreTrainedModel.load_hooks` holds this function.
    """
    config: Any = model.config
    named = getattr(config, "auto_map", None) or {}
    for auto_class, known in auto_models(config).items():
        place = named.get(auto_class.__name__)
        if type(model) is known and place and not hasattr(modeling, place.rpartition(".")[2]):
            logger.warning(
                f"The folder names the class {place} for {auto_class.__name__}, but {known.__name__} was loaded, which "
                f"lacks the changes of {place}: import this class, and call its from_pretrained."
            )


def _enter_callback(trainer: ModuleType) -> None:
    from locant.code_on_push import CodeOnPush  # imported here, because TrainerCallback takes time to import

    if CodeOnPush not in trainer.DEFAULT_CALLBACKS:
        trainer.DEFAULT_CALLBACKS.append(CodeOnPush)


def _enter_targets(constants: ModuleType) -> None:
    # Locant's linear layers have the same names as Llama's, so each PEFT method adapts by default the same layers as in
    # Llama: LoRA, for example, adapts q_proj and v_proj
    for name, table in vars(constants).items():
        if name.startswith("TRANSFORMERS_MODELS_TO_") and name.endswith("_MODULES_MAPPING") and "llama" in table:
            table.setdefault(LocantConfig.model_type, table["llama"])
