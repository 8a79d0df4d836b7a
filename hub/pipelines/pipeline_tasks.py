# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Finds the pipeline task for a model class, and for a task of `locant train`."""

PIPELINE_TASKS = {
    "translation": "translation",
    "language_modeling": "text-generation",
    "masked_language_modeling": "fill-mask",
    "sequence_classification": "text-classification",
    "image_classification": "image-classification",
    "captioning": "image-text-to-text",
}
"""A task of `locant train` -> the task of `locant.pipeline` for the trained models."""

_TASKS = {
    "LocantForCausalLM": "text-generation",
    "LocantForMaskedLM": "fill-mask",
    "LocantForSequenceClassification": "text-classification",
    "LocantForTokenClassification": "token-classification",
    "LocantForQuestionAnswering": "question-answering",
    "LocantForImageClassification": "image-classification",
    "LocantEncoderModel": "feature-extraction",
    "LocantDecoderModel": "feature-extraction",
}
_TASKS_WITH_IMAGES = {
    "LocantForConditionalGeneration": "image-text-to-text",
    "LocantEncoderModel": "image-feature-extraction",
}


def pipeline_task(model_class: str | None, reads_images: bool) -> str | None:
    """Return the task of transformers' pipelines that a model of this class is for.

    Args:
        model_class: name of the model's class, as in `architectures` of its config; None if it is not known.
        reads_images: whether the encoder reads patches of images instead of tokens.

    Returns:
        The name of the task; None if the class is not known, or is for no task or several tasks (a text-to-text model).
    """
    found = _TASKS_WITH_IMAGES.get(model_class or "") if reads_images else None
    return found or _TASKS.get(model_class or "")
