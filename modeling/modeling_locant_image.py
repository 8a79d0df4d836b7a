# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The image encoder with a classification head."""

import torch
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .modeling_locant_encoder import EncoderClassifier


class LocantForImageClassification(EncoderClassifier):
    """The image encoder with a linear layer over its pooled vector, which predicts classes (Dosovitskiy et al. 2021).

    Args:
        config: the model's configuration, with `num_labels`. A decoder in it is left out, and `encoder_input` is set to
            `patches`.
    """

    main_input_name = "pixel_values"
    encoder_input = "patches"
    loss_name = "ForImageClassification"
    accepts_loss_kwargs = False  # the loss is a batch mean, which the Trainer divides by the accumulation steps
    class_tables = (MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,)

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ImageClassifierOutput:
        """Classify images.

        Args:
            pixel_values: `(batch, channels, height, width)`; height and width are multiples of the patch size.
            labels: as in `LocantForSequenceClassification`.

        Returns:
            `loss` and `logits` `(batch, num_labels)`.

        Raises:
            ValueError: `pixel_values` is missing or has another shape.
        """
        outputs = self.model(pixel_values=pixel_values, **{**kwargs, "return_dict": True})
        logits = self.classifier(self.dropout(outputs.pooler_output))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config, **kwargs)
        return ImageClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )
