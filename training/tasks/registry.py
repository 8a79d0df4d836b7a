# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The table of the tasks that `locant train` knows, which gives the options, the help and the recipe of each task."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..options.arguments import DataArguments, TrainingArguments
from .captioning_arguments import CaptioningData, CaptioningTraining
from .image_arguments import IMAGES_ARE_OF_ONE_SIZE
from .image_classification_arguments import ImageClassificationData, ImageClassificationTraining
from .language_modeling_arguments import LanguageModelingData, LanguageModelingTraining
from .masked_language_modeling_arguments import MaskedLanguageModelingData, MaskedLanguageModelingTraining
from .sequence_classification_arguments import SequenceClassificationData, SequenceClassificationTraining
from .translation_arguments import TranslationData, TranslationTraining


@dataclass(frozen=True, eq=False)
class Task:
    """One task: its options, and the name of its recipe, whose module is imported only when the recipe is used.

    Args:
        name: the value of `--task`.
        summary: a short description of the task, for `--help`.
        data: the options of the section `data:`.
        training: the options of the section `training:`.
        recipe_name: the class of the recipe, as `module:Class`, with the name of a module in this package.
        config_fields: fields of `LocantConfig` that the task decides, above all which stacks the model has. They are
            not options of the task, and neither are the fields of a stack that the model does not have.
        decided_elsewhere: further options that this task does not have, each with the reason, for messages.
    """

    name: str
    summary: str
    data: type[DataArguments]
    training: type[TrainingArguments]
    recipe_name: str
    config_fields: Mapping[str, Any] = field(default_factory=dict)
    decided_elsewhere: Mapping[str, str] = field(default_factory=dict)


# Options that no classifier has, each with the reason for the error message
_NOT_OF_CLASSIFIERS = {
    "label_smoothing": "the loss of a classifier is not smoothed",
    "lm_head_bias": "a classifier has no output layer over the vocabulary",
    "tie_word_embeddings": "a classifier has no output layer over the vocabulary",
}

# Options of `Seq2SeqTrainingArguments` that `locant train` refuses, each with the reason for the error message
_NOT_OF_GENERATORS = {
    "generation_config": "num_beams, length_penalty and max_new_tokens decide the search",
    "sortish_sampler": "a batch always has rows of similar length",
}

_ALL = (
    Task(
        "translation",
        "generate a text from a text, such as its translation",
        TranslationData,
        TranslationTraining,
        "translation:Translation",
        decided_elsewhere=_NOT_OF_GENERATORS,
    ),
    Task(
        "language_modeling",
        "predict each token of a text from the tokens before it",
        LanguageModelingData,
        LanguageModelingTraining,
        "language_modeling:LanguageModeling",
        config_fields={"is_encoder_decoder": False, "is_decoder": True},
    ),
    Task(
        "masked_language_modeling",
        "predict the masked tokens of a text from all other tokens",
        MaskedLanguageModelingData,
        MaskedLanguageModelingTraining,
        "masked_language_modeling:MaskedLanguageModeling",
        config_fields={"is_encoder_decoder": False},
    ),
    Task(
        "sequence_classification",
        "predict a label, several labels or a number for a text",
        SequenceClassificationData,
        SequenceClassificationTraining,
        "sequence_classification:SequenceClassification",
        config_fields={"is_encoder_decoder": False},
        decided_elsewhere=_NOT_OF_CLASSIFIERS,
    ),
    Task(
        "image_classification",
        "predict the label of an image",
        ImageClassificationData,
        ImageClassificationTraining,
        "image_classification:ImageClassification",
        config_fields={"is_encoder_decoder": False, "encoder_input": "patches"},
        decided_elsewhere={**IMAGES_ARE_OF_ONE_SIZE, **_NOT_OF_CLASSIFIERS},
    ),
    Task(
        "captioning",
        "generate a caption for an image",
        CaptioningData,
        CaptioningTraining,
        "captioning:Captioning",
        config_fields={"encoder_input": "patches"},
        decided_elsewhere={
            **IMAGES_ARE_OF_ONE_SIZE,
            **_NOT_OF_GENERATORS,
            "source_lang": "a captioner does not translate",
            "target_lang": "a captioner does not translate",
        },
    ),
)

TASKS: dict[str, Task] = {task.name: task for task in _ALL}
DEFAULT_TASK = "translation"
