# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The encoder–decoder: the model without a head, and the model that generates text from text or from images."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import Cache
from transformers.modeling_outputs import Seq2SeqLMOutput, Seq2SeqModelOutput
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple

from locant.configuration.configuration_locant import LocantConfig

from .cache_names import CACHE, takes_cache_as
from .generation import LocantGenerationMixin
from .loss import VocabularyHead, needed_by_loss
from .pretrained import LocantPreTrainedModel
from .stack_inputs import as_encoder_output, count_positions, visible_keys
from .stacks import LocantDecoder, LocantEncoder, build_encoder


def shift_right(labels: torch.Tensor, start_token_id: int, pad_token_id: int) -> torch.Tensor:
    """Make decoder inputs from labels `(batch, length)`: the start token, then all labels but the last.

    A label of -100 becomes padding.
    """
    shifted = torch.cat([torch.full_like(labels[:, :1], start_token_id), labels[:, :-1]], dim=1)
    return shifted.masked_fill(shifted == -100, pad_token_id)


class LocantModel(LocantPreTrainedModel):
    """An encoder–decoder without a head.

    Args:
        config: the model's configuration.
    """

    def __init__(self, config: LocantConfig):
        super().__init__(config.with_stacks())
        if self.config.shares_embeddings:
            self._tied_weights_keys = {"decoder.embed_tokens.weight": "encoder.embed_tokens.weight"}
        self.encoder = build_encoder(self.config)
        self.decoder = LocantDecoder(self.config)
        self.post_init()

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        """Return a dict from the name of each tied weight to the name of the weight that it is tied to.

        This model ties only the embeddings that its stacks share, and ties them even if `tie_word_embeddings` is False.
        With `all_submodels`, the tied weights of submodels are added as in transformers.
        """
        if all_submodels:
            return super().get_expanded_tied_weights_keys(all_submodels=True)
        return dict(self._tied_weights_keys or {})

    def get_input_embeddings(self) -> nn.Module:
        """The token embeddings of the encoder, or of the decoder if the encoder reads images."""
        return (self.encoder if isinstance(self.encoder, LocantEncoder) else self.decoder).get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embeddings that `get_input_embeddings` returns, in both stacks if the stacks share them."""
        if isinstance(self.encoder, LocantEncoder):
            self.encoder.embed_tokens = value
        if self.config.shares_embeddings or not isinstance(self.encoder, LocantEncoder):
            self.decoder.embed_tokens = value

    @takes_cache_as("past_key_values")
    @can_return_tuple
    def forward(  # type: ignore[misc]  # TransformersKwargs has some of these names too
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: ModelOutput | Sequence[Any] | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        position_ids: torch.Tensor | None = None,
        decoder_position_ids: torch.Tensor | None = None,
        cross_attention_mask: torch.Tensor | None = None,
        document_ids: torch.Tensor | None = None,
        decoder_document_ids: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> Seq2SeqModelOutput:
        """Encode the source and decode the target.

        Args:
            input_ids: source tokens `(batch, source_length)`.
            attention_mask: `(batch, source_length)`, 0 at padding; or `(batch or 1, 1 or heads, source_length,
                source_length)`, either booleans or integers, 0 where a token is not seen, or floating-point numbers,
                which are added to the scores. Source tokens that are hidden from all source tokens are also hidden in
                cross-attention; a floating-point number hides a token if it is minus infinity or the lowest number of
                its dtype.
            decoder_input_ids: the target tokens that the cache does not hold yet, `(batch, target_length)`.
            decoder_attention_mask: `(batch, past + target_length)`, 0 at padding; or `(batch or 1, 1 or heads,
                target_length, past + target_length)`, as for the encoder. It is combined with causality.
            encoder_outputs: the output of the encoder, which is then not run: a `ModelOutput`, tuple or list that
                begins with the last hidden states.
            past_key_values: keys and values of earlier target tokens; they may also be given as `cache`.
            inputs_embeds, decoder_inputs_embeds: embeddings instead of ids; the model multiplies them by sqrt(d_model)
                if `scale_embedding` is set.
            use_cache: make a cache and return it if none is given; a given cache is used in any case.
            position_ids, decoder_position_ids: the positions of source and target tokens; by default, the real
                tokens are counted from 0.
            cross_attention_mask: the mask of cross-attention, `(batch, source_length)` or of four dimensions; by
                default, it is computed from `attention_mask`.
            document_ids, decoder_document_ids: `(batch or 1, source_length)` and `(batch or 1, past + target_length)`,
                the document of each token of a packed sequence. A token sees its own document only, and positions are
                counted from 0 in each document.
            token_type_ids: `(batch, source_length)`, below `type_vocab_size`.
            pixel_values: `(batch, channels, height, width)`, the source if the encoder reads images. An encoder that
                reads images takes no other input.

        Raises:
            ValueError: ids and embeddings are both given or both missing; a position is beyond a learned table;
                document ids are given for one of the stacks only; the backend cannot take the mask; `encoder_outputs`
                is not the output of an encoder; the batch size of the decoder is not a multiple of the number of
                sources.
            TypeError: an input is not a tensor.
        """
        kwargs["return_dict"] = True
        needed_tokens = kwargs.pop("needed_tokens", None)
        decoder_needed_tokens = kwargs.pop("decoder_needed_tokens", None)
        if encoder_outputs is None:
            encoder_outputs = self.encoder(
                input_ids=input_ids,
                attention_mask=attention_mask,
                token_type_ids=token_type_ids,
                position_ids=position_ids,
                inputs_embeds=inputs_embeds,
                document_ids=document_ids,
                pixel_values=pixel_values,
                needed_tokens=needed_tokens,
                **kwargs,
            )
        encoder_outputs = as_encoder_output(encoder_outputs)
        encoder_hidden_states = encoder_outputs[0]
        if cross_attention_mask is None:
            cross_attention_mask = visible_keys(attention_mask, encoder_hidden_states.shape[0])
        if position_ids is None and cross_attention_mask is not attention_mask:
            # Without position ids, the decoder would count the source's positions from the mask of cross-attention. The
            # encoder has another mask here, so the positions are counted from the encoder's mask, as in the encoder
            length, device = encoder_hidden_states.shape[1], encoder_hidden_states.device
            position_ids = count_positions(attention_mask, 0, length, device, document_ids)
        decoder_outputs = self.decoder(
            input_ids=decoder_input_ids,
            attention_mask=decoder_attention_mask,
            position_ids=decoder_position_ids,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=cross_attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=decoder_inputs_embeds,
            use_cache=use_cache,
            document_ids=decoder_document_ids,
            encoder_document_ids=document_ids,
            encoder_position_ids=position_ids,
            needed_tokens=decoder_needed_tokens,
            encoder_needed_tokens=needed_tokens,
            **kwargs,
        )
        return Seq2SeqModelOutput(
            last_hidden_state=decoder_outputs.last_hidden_state,
            **{CACHE: getattr(decoder_outputs, CACHE)},
            decoder_hidden_states=decoder_outputs.hidden_states,
            decoder_attentions=decoder_outputs.attentions,
            cross_attentions=decoder_outputs.cross_attentions,
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
            encoder_hidden_states=encoder_outputs.hidden_states,
            encoder_attentions=encoder_outputs.attentions,
        )


class LocantForConditionalGeneration(VocabularyHead, LocantGenerationMixin):
    """An encoder–decoder with a language modelling head, for translation, summarisation and similar tasks.

    With `encoder_input="patches"`, the model captions images.

    Args:
        config: the model's configuration.
    """

    _tied_weights_keys = {"lm_head.weight": "model.decoder.embed_tokens.weight"}  # noqa: RUF012
    # the lists of class names in which pipelines and the Trainer look up this class
    class_tables = (MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)

    def __init__(self, config: LocantConfig):
        super().__init__(config.with_stacks())
        self.model = LocantModel(self.config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=config.lm_head_bias)
        if self.config.shares_embeddings:
            self._tied_weights_keys = {
                "lm_head.weight": "model.encoder.embed_tokens.weight",
                "model.decoder.embed_tokens.weight": "model.encoder.embed_tokens.weight",
            }
        self.post_init()

    def prepare_decoder_input_ids_from_labels(self, labels: torch.Tensor) -> torch.Tensor:
        """Make the decoder input ids `(batch, length)` from the labels `(batch, length)`, with `shift_right`.

        Raises:
            ValueError: `decoder_start_token_id` or `pad_token_id` is None.
        """
        start, pad = self.config.decoder_start_token_id, self.config.pad_token_id
        if start is None or pad is None:
            raise ValueError(
                "Shifting labels needs decoder_start_token_id and pad_token_id, but at least one of them is None: set "
                "both in the config."
            )
        return shift_right(labels, start, pad)

    @takes_cache_as("past_key_values")
    @can_return_tuple
    def forward(  # type: ignore[misc]  # TransformersKwargs has some of these names too
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: ModelOutput | Sequence[Any] | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        position_ids: torch.Tensor | None = None,
        decoder_position_ids: torch.Tensor | None = None,
        cross_attention_mask: torch.Tensor | None = None,
        document_ids: torch.Tensor | None = None,
        decoder_document_ids: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        num_items_in_batch: int | torch.Tensor | None = None,
        skip_logits: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> Seq2SeqLMOutput:
        """Run `LocantModel`, and compute the logits and, if there are labels, the loss.

        Args:
            input_ids, attention_mask, decoder_input_ids, decoder_attention_mask: as in `LocantModel`.
            encoder_outputs, past_key_values, inputs_embeds, decoder_inputs_embeds, use_cache: as in `LocantModel`.
            position_ids, decoder_position_ids, cross_attention_mask: as in `LocantModel`.
            document_ids, decoder_document_ids, token_type_ids, pixel_values: as in `LocantModel`.
            labels: target tokens `(batch, target_length)`, -100 where no loss is wanted. Decoder inputs are
                computed from the labels unless they are given.
            num_items_in_batch: number of target tokens in the whole optimiser step, by which the summed loss is
                divided; by default the number of labels in this batch that are not -100. The Trainer passes it.
            skip_logits: return None for the logits, and compute the loss in less time and memory; it needs labels. The
                layers may then leave out tokens that the loss does not depend on; the returned hidden states of these
                tokens have no meaning.

        Returns:
            `loss`, the mean per token, with `config.label_smoothing` in training mode only; and `logits`
            `(batch, target_length, vocab_size)`, or None with `skip_logits`.
        """
        if labels is not None:
            use_cache = False if use_cache is None else use_cache
            if decoder_input_ids is None and decoder_inputs_embeds is None:
                decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
            if skip_logits:
                # If all keys of a query are masked, attention with an additive mask averages over all keys, including
                # padding. So padding is computed if a query may see no token of the source: with document ids, with a
                # cross_attention_mask, and if a source consists of padding only
                is_own = cross_attention_mask is None and document_ids is None
                if is_own and attention_mask is not None and attention_mask.ndim == 2:
                    real = attention_mask.bool()
                    kwargs["needed_tokens"] = real | ~real.any(dim=1).all()
                kwargs["decoder_needed_tokens"] = needed_by_loss(labels, decoder_attention_mask)
        kwargs["return_dict"] = True
        outputs = self.model(
            input_ids,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            encoder_outputs,
            past_key_values,
            inputs_embeds,
            decoder_inputs_embeds,
            use_cache,
            position_ids,
            decoder_position_ids,
            cross_attention_mask,
            document_ids,
            decoder_document_ids,
            token_type_ids,
            pixel_values,
            **kwargs,
        )
        logits, loss = self.logits_and_loss(outputs.last_hidden_state, labels, num_items_in_batch, skip_logits)
        others = {name: value for name, value in outputs.items() if name != "last_hidden_state"}
        return Seq2SeqLMOutput(loss=loss, logits=logits, **others)
