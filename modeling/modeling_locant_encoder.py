# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The encoder alone, which reads tokens or images, and the encoder with heads for tasks on text."""

from typing import ClassVar, cast

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_outputs import (
    BaseModelOutputWithPooling,
    MaskedLMOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
)
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple

from locant.configuration.configuration_locant import LocantConfig

from .layers import build_norm
from .loss import VocabularyHead, needed_by_loss
from .pooling import Pooler
from .pretrained import LocantPreTrainedModel
from .stacks import build_encoder, refuse_input


class LocantEncoderModel(LocantPreTrainedModel):
    """The encoder with a pooler, which computes one vector for the whole input: the embedding of a sentence or image.

    Args:
        config: the model's configuration; a decoder in it is left out.
        add_pooling_layer: whether the model has the pooler.
    """

    def __init__(self, config: LocantConfig, add_pooling_layer: bool = True):
        super().__init__(config.with_stacks(decoder=False))
        self.encoder = build_encoder(self.config)
        self.pooler = Pooler(self.config) if add_pooling_layer else None
        self.post_init()

    def new_like(self, config: LocantConfig) -> "LocantEncoderModel":
        """Return a new, untrained model of this class for `config`, with a pooler if this model has a pooler."""
        return type(self)(config, add_pooling_layer=self.pooler is not None)

    def get_input_embeddings(self) -> nn.Module:
        """The token embeddings; in an encoder of images, the linear layer that projects flattened patches."""
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the module that `get_input_embeddings` returns."""
        self.encoder.set_input_embeddings(value)

    @can_return_tuple
    def forward(  # type: ignore[misc]  # TransformersKwargs has some of these names too
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        document_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        """Encode tokens or images.

        Args:
            input_ids, token_type_ids, position_ids, inputs_embeds, document_ids: as in `LocantEncoder`.
            attention_mask: as in `LocantEncoder`; the pooler leaves out padding, and tokens that no token sees.
            pixel_values: `(batch, channels, height, width)`, the only input of an encoder that reads images.

        Returns:
            `last_hidden_state` `(batch, length, d_model)` and, with a pooler, `pooler_output` `(batch, d_model)`.

        Raises:
            ValueError: as in `LocantEncoder`, or in `LocantImageEncoder` if the encoder reads images.
        """
        kwargs["return_dict"] = True
        outputs = self.encoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            document_ids=document_ids,
            pixel_values=pixel_values,
            **kwargs,
        )
        pooled = self.pooler(outputs.last_hidden_state, attention_mask) if self.pooler is not None else None
        return BaseModelOutputWithPooling(pooler_output=pooled, **outputs)


class LocantForMaskedLM(VocabularyHead):
    """The encoder with a head that predicts masked tokens (Devlin et al. 2019, section 3.1).

    Args:
        config: the model's configuration; a decoder in it is left out.
    """

    _tied_weights_keys = {"lm_head.weight": "model.encoder.embed_tokens.weight"}  # noqa: RUF012
    class_tables = (MODEL_FOR_MASKED_LM_MAPPING_NAMES,)

    def __init__(self, config: LocantConfig):
        super().__init__(config.with_stacks(decoder=False, encoder_input="tokens"))
        self.model = LocantEncoderModel(self.config, add_pooling_layer=False)
        self.transform = nn.Sequential(
            nn.Linear(config.d_model, config.d_model), ACT2FN[config.activation_function], build_norm(config)
        )
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=config.lm_head_bias)
        self.post_init()

    @can_return_tuple
    def forward(  # type: ignore[misc]  # TransformersKwargs has some of these names too
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        document_ids: torch.Tensor | None = None,
        num_items_in_batch: int | torch.Tensor | None = None,
        skip_logits: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MaskedLMOutput:
        """Run `LocantEncoderModel`, and compute the logits and, if there are labels, the loss.

        Args:
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, document_ids: as in
                `LocantEncoderModel`.
            labels: `(batch, length)`, the original ids of the tokens to be predicted, and -100 for all other tokens.
            num_items_in_batch: number of labels in the whole optimiser step, by which the summed loss is divided; by
                default the number of labels in this batch that are not -100.
            skip_logits: return None for the logits, and compute the loss in less time and memory; it needs labels. The
                layers may then leave out padding; the returned hidden states of padding have no meaning.

        Returns:
            `loss`, the mean per label, with `config.label_smoothing` in training mode only; and `logits`
            `(batch, length, vocab_size)`, or None with `skip_logits`.
        """
        if skip_logits and labels is not None and attention_mask is not None:
            kwargs["needed_tokens"] = needed_by_loss(labels, attention_mask)
        kwargs["return_dict"] = True
        outputs = self.model(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            document_ids,
            **kwargs,
        )
        hidden_states = self.transform(outputs.last_hidden_state)
        logits, loss = self.logits_and_loss(hidden_states, labels, num_items_in_batch, skip_logits)
        return MaskedLMOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


class EncoderClassifier(LocantPreTrainedModel):
    """Base class of classifiers: the encoder, dropout and a linear layer.

    Args:
        config: the model's configuration, with `num_labels`; a decoder in it is left out, and its `encoder_input` is
            replaced by the class attribute.
    """

    encoder_input: ClassVar[str] = "tokens"
    """The input of the encoder: `tokens` or `patches`."""
    has_pooler: ClassVar[bool] = True
    """Whether the linear layer reads a pooled vector; if False, it reads the hidden state of each token."""
    loss_name: ClassVar[str]
    """The key of the loss in transformers' `LOSS_MAPPING`."""

    def __init__(self, config: LocantConfig):
        super().__init__(config.with_stacks(decoder=False, encoder_input=self.encoder_input))
        self.model = LocantEncoderModel(self.config, add_pooling_layer=self.has_pooler)
        self.dropout = nn.Dropout(config.dropout if config.classifier_dropout is None else config.classifier_dropout)
        self.classifier = nn.Linear(config.d_model, cast(int, config.num_labels))
        # by default, transformers derives the loss type from the class name, and a subclass may have any name
        self.loss_type = self.loss_name
        self.post_init()


class LocantForSequenceClassification(EncoderClassifier):
    """The encoder with a linear layer over its pooled vector, which predicts one class, several classes, or numbers.

    Args:
        config: the model's configuration, with `num_labels` and, optionally, `problem_type`; a decoder in it is left
            out.
    """

    loss_name = "ForSequenceClassification"
    accepts_loss_kwargs = False  # the loss is a batch mean, which the Trainer divides by the accumulation steps
    class_tables = (MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,)

    @can_return_tuple
    def forward(  # type: ignore[misc]  # TransformersKwargs has some of these names too
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SequenceClassifierOutput:
        """Run `LocantEncoderModel`, and compute the logits and, if there are labels, the loss.

        Args:
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds: as in `LocantEncoderModel`.
            labels: `(batch,)`, class numbers, or the numbers to be predicted if `num_labels` is 1; `(batch,
                num_labels)` in floating point if several classes may apply or several numbers are predicted.
                `config.problem_type` selects the loss; if it is None, transformers sets it by `num_labels` and the
                dtype of the labels.

        Returns:
            `loss` (cross-entropy, binary cross-entropy or squared error) and `logits` `(batch, num_labels)`.
        """
        refuse_input("document_ids", kwargs, "a sequence classifier, which pools each row to one vector: leave it out")
        kwargs["return_dict"] = True
        outputs = self.model(input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, **kwargs)
        logits = self.classifier(self.dropout(outputs.pooler_output))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config, **kwargs)
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


class LocantForTokenClassification(EncoderClassifier):
    """The encoder with a linear layer over the hidden state of each token, which predicts the class of the token.

    Args:
        config: the model's configuration, with `num_labels`; a decoder in it is left out.
    """

    has_pooler = False
    loss_name = "ForTokenClassification"
    class_tables = (MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,)

    @can_return_tuple
    def forward(  # type: ignore[misc]  # TransformersKwargs has some of these names too
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        document_ids: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> TokenClassifierOutput:
        """Run `LocantEncoderModel`, and compute the logits and, if there are labels, the loss.

        Args:
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, document_ids: as in
                `LocantEncoderModel`.
            labels: `(batch, length)`, class numbers, -100 where no loss is wanted.

        Returns:
            `loss` and `logits` `(batch, length, num_labels)`.
        """
        kwargs["return_dict"] = True
        outputs = self.model(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            document_ids,
            **kwargs,
        )
        logits = self.classifier(self.dropout(outputs.last_hidden_state))
        loss = None if labels is None else self.loss_function(logits, labels, self.config, **kwargs)
        return TokenClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


class LocantForQuestionAnswering(LocantPreTrainedModel):
    """The encoder with a head that predicts where an answer starts and ends (Devlin et al. 2019, section 4.2).

    Args:
        config: the model's configuration; a decoder in it is left out.
    """

    class_tables = (MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,)

    def __init__(self, config: LocantConfig):
        super().__init__(config.with_stacks(decoder=False, encoder_input="tokens"))
        self.model = LocantEncoderModel(self.config, add_pooling_layer=False)
        self.qa_outputs = nn.Linear(config.d_model, 2)
        # by default, transformers derives the loss type from the class name, and a subclass may have any name
        self.loss_type = "ForQuestionAnswering"
        self.post_init()

    @can_return_tuple
    def forward(  # type: ignore[misc]  # TransformersKwargs has some of these names too
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        start_positions: torch.Tensor | None = None,
        end_positions: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> QuestionAnsweringModelOutput:
        """Run `LocantEncoderModel`, and compute the logits and, if start and end positions are given, the loss.

        Args:
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds: as in `LocantEncoderModel`.
            start_positions, end_positions: `(batch,)`, the indices of the first and the last token of the answer; an
                index beyond the sequence is ignored.

        Returns:
            `loss`, the mean of the cross-entropies of start and end, and `start_logits` and `end_logits` `(batch,
            length)`.
        """
        kwargs["return_dict"] = True
        outputs = self.model(input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, **kwargs)
        start_logits, end_logits = self.qa_outputs(outputs.last_hidden_state).unbind(dim=-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = self.loss_function(start_logits, end_logits, start_positions, end_positions, **kwargs)
        return QuestionAnsweringModelOutput(
            loss=loss,
            start_logits=start_logits,
            end_logits=end_logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
