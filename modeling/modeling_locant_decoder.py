# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The decoder alone: the model without a head, and the language model."""

import torch
from torch import nn
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple

from locant.configuration.configuration_locant import LocantConfig

from .cache_names import takes_cache_as
from .generation import LocantGenerationMixin
from .loss import VocabularyHead, needed_by_loss
from .pretrained import LocantPreTrainedModel
from .stack_inputs import documents_of_positions
from .stacks import LocantDecoder


class LocantDecoderModel(LocantPreTrainedModel):
    """The decoder without an encoder and without a head.

    Args:
        config: the model's configuration; an encoder in it is left out.
    """

    def __init__(self, config: LocantConfig):
        super().__init__(config.with_stacks(encoder=False))
        self.decoder = LocantDecoder(self.config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The token embeddings."""
        return self.decoder.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embeddings."""
        self.decoder.embed_tokens = value

    @takes_cache_as("past_key_values")
    @can_return_tuple
    def forward(  # type: ignore[misc]  # TransformersKwargs has some of these names too
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        document_ids: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPast:
        """Run the decoder on tokens or embeddings.

        Args:
            input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache, document_ids: as in
                `LocantDecoder`.

        Returns:
            `last_hidden_state` `(batch, length, d_model)` and the cache.

        Raises:
            ValueError: as in `LocantDecoder`.
        """
        kwargs["return_dict"] = True
        outputs = self.decoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            document_ids=document_ids,
            **kwargs,
        )
        # if attentions are asked for, the stack returns cross-attentions too, which are empty without an encoder
        kept = {name: value for name, value in outputs.items() if name != "cross_attentions"}
        return BaseModelOutputWithPast(**kept)


class LocantForCausalLM(VocabularyHead, LocantGenerationMixin):
    """The causal language model, which predicts each token from the tokens before it (Radford et al. 2018).

    Args:
        config: the model's configuration; an encoder in it is left out.
    """

    _tied_weights_keys = {"lm_head.weight": "model.decoder.embed_tokens.weight"}  # noqa: RUF012
    class_tables = (MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,)

    def __init__(self, config: LocantConfig):
        super().__init__(config.with_stacks(encoder=False))
        self.model = LocantDecoderModel(self.config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=config.lm_head_bias)
        # the Trainer counts the labels of a step by this name, which the name of a derived class need not contain
        self.loss_type = "ForCausalLM"
        self.post_init()

    @takes_cache_as("past_key_values")
    @can_return_tuple
    def forward(  # type: ignore[misc]  # TransformersKwargs has some of these names too
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        document_ids: torch.Tensor | None = None,
        num_items_in_batch: int | torch.Tensor | None = None,
        skip_logits: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> CausalLMOutputWithPast:
        """Run `LocantDecoderModel`, and compute the logits and, if there are labels, the loss.

        Args:
            input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache, document_ids: as in
                `LocantDecoderModel`.
            labels: `(batch, length)`, the input ids themselves, with -100 where no loss is wanted; each label is
                predicted from the tokens before it. The labels of the first token of a row and of each document are
                ignored.
            kwargs: may contain `shift_labels`, `(batch, length)`, instead of labels: the token that each token has to
                predict, or -100. Trainers that split sequences over devices pass `shift_labels`. It is not in the
                signature, because the Trainer takes every argument with "label" in its name for a column of labels that
                all batches have.
            logits_to_keep: the number of tokens at the end of each row whose logits are computed, or a tensor with the
                indices of these tokens; 0 for all tokens. With labels, the logits of all tokens must be computed.
            num_items_in_batch: number of labels in the whole optimiser step, by which the summed loss is divided; by
                default the number of labels in this batch that are not -100. The Trainer leaves
                out the first label of each row, but counts the label of the first token of each later document in the
                row: set these labels to -100.
            skip_logits: return None for the logits, and compute the loss in less time and memory; it needs `labels` or
                `shift_labels`. The layers may then leave out tokens that the loss does not depend on; the returned
                hidden states of these tokens have no meaning.

        Returns:
            `loss`, the mean per token, with `config.label_smoothing` in training mode only; `logits`,
            `(batch, tokens, vocab_size)` for the tokens that `logits_to_keep` selects, or None with `skip_logits`; and
            the cache.
        """
        shift_labels = kwargs.pop("shift_labels", None)
        if shift_labels is None and labels is not None:
            past_length = 0 if past_key_values is None else past_key_values.get_seq_length()
            if attention_mask is None and past_key_values is None and position_ids is not None and document_ids is None:
                document_ids = documents_of_positions(position_ids)  # as the decoder does
            shift_labels = next_tokens(labels, document_ids, past_length)
        if shift_labels is not None:
            use_cache = False if use_cache is None else use_cache
            if skip_logits:
                kwargs["needed_tokens"] = needed_by_loss(shift_labels, attention_mask)
        kwargs["return_dict"] = True
        outputs = self.model(
            input_ids,
            attention_mask,
            position_ids,
            past_key_values,
            inputs_embeds,
            use_cache,
            document_ids,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits, loss = self.logits_and_loss(
            outputs.last_hidden_state[:, kept], shift_labels, num_items_in_batch, skip_logits
        )
        others = {name: value for name, value in outputs.items() if name != "last_hidden_state"}
        return CausalLMOutputWithPast(loss=loss, logits=logits, **others)


def next_tokens(
    labels: torch.Tensor, document_ids: torch.Tensor | None = None, past_length: int | torch.Tensor = 0
) -> torch.Tensor:
    """Return the label that each token has to predict, `(batch, length)`: the label of the next token.

    The last token of a row or of a document gets -100.

    Args:
        labels: `(batch, length)`.
        document_ids: `(batch or 1, past + length)`; None if each row is one document.
        past_length: the number of cached tokens. Their document ids come first, and they have no labels.
    """
    following = nn.functional.pad(labels[:, 1:], (0, 1), value=-100)
    if document_ids is None or document_ids.ndim != 2:  # the decoder raises an error if `document_ids` is not 2-D
        return following
    slots = torch.arange(labels.shape[1], device=document_ids.device) + past_length
    document_ids = document_ids[:, slots]
    last = nn.functional.pad(document_ids[:, 1:] != document_ids[:, :-1], (0, 1), value=True)
    return following.masked_fill(last.to(following.device), -100)
