# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The encoder and the decoder: embeddings, position, layers, final norm."""

import math
from typing import Literal

import torch
from torch import nn
from torch.compiler import is_compiling
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, EncoderDecoderCache, StaticLayer
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPastAndCrossAttentions
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from locant.configuration.configuration_locant import LocantConfig

from .attention import Attention, span_of_cache
from .layers import TransformerLayer, View
from .masks import Documents, Mask, add_to_mask, build_mask, build_position_ids
from .norms import build_final_norm
from .positions.base import PositionEncoding, Positions, PositionSpan, Span
from .positions.registry import build_position_encoding
from .pretrained import LocantPreTrainedModel

# Backends that take the term of the scores as a matrix, which is made once where all layers share it
_DENSE = ("eager", "sdpa")


class LocantStack(LocantPreTrainedModel):
    """What both stacks are made of.

    Args:
        config: the model's configuration.
        stack: which of the two this is.
    """

    is_causal = False

    def __init__(self, config: LocantConfig, stack: Literal["encoder", "decoder"]):
        super().__init__(config)
        config.validate()  # fields may have been set since it was made
        self.embed_tokens: nn.Module = nn.Embedding(config.vocab_size, config.d_model)
        self.embed_scale = math.sqrt(config.d_model) if config.scale_embedding else 1.0
        self.embed_dropout = nn.Dropout(config.dropout)
        self.position = build_position_encoding(config, stack)
        is_crossed = stack == "decoder" and config.is_encoder_decoder
        self.cross_position = build_position_encoding(config, "cross") if is_crossed else None
        self.layer_types = config.layer_types_of(stack)
        self.layers = nn.ModuleList(
            TransformerLayer(
                config,
                stack,
                idx,
                self.position.layer(idx),
                self.cross_position.layer(idx) if self.cross_position is not None else None,
            )
            for idx in range(len(self.layer_types))
        )
        self.final_norm = build_final_norm(config)
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The token embeddings."""
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embeddings."""
        self.embed_tokens = value

    def embed(
        self,
        input_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None,
        document_ids: torch.Tensor | None,
        cache: Cache | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, int]:
        """The first hidden states `(batch, length, d_model)`, their position ids, and a bound above all of these."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give either token ids or embeddings, and not both.")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        hidden_states = inputs_embeds * self.embed_scale
        length, past_length = hidden_states.shape[1], cache.get_seq_length() if cache is not None else 0
        slots = cache.get_max_length() if isinstance(past_length, torch.Tensor) else past_length + length
        if document_ids is not None and isinstance(past_length, int) and document_ids.shape[1] < slots:
            raise ValueError(
                f"document_ids are {document_ids.shape[1]} numbers a sequence, but with those in the cache there are "
                f"{slots} tokens: give the documents of all of them."
            )
        if position_ids is None:
            device = hidden_states.device
            position_ids = build_position_ids(attention_mask, past_length, length, device, document_ids)
        elif not is_compiling():
            slots = int(position_ids.max()) + 1
        return self.embed_dropout(self.position.embed(hidden_states, position_ids, slots)), position_ids, slots

    def views(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor,
        document_ids: torch.Tensor | None,
        cache: Cache | None = None,
    ) -> dict[str, View]:
        """What the layers of each type see of their own sequence."""
        prepared = self.position.prepare(hidden_states, position_ids)
        views = {}
        for layer_type in set(self.layer_types):
            span = span_of_cache(cache, hidden_states.shape[1], self.layer_types.index(layer_type))
            mask = build_mask(
                self.config,
                hidden_states,
                span,
                attention_mask,
                is_causal=self.is_causal,
                window=self.config.sliding_window if layer_type == "sliding_attention" else None,
                documents=None if document_ids is None else Documents(document_ids, _of_slots(document_ids, span.keys)),
                cache=cache,
                always=self._shares_matrix(self.position),
            )
            views[layer_type] = self._view(
                self.position, "self_attn", mask, Positions(span, prepared, prepared), hidden_states
            )
        return views

    def _shares_matrix(self, encoding: PositionEncoding) -> bool:
        """Whether all layers take the term of the scores as one matrix; not where each is to be computed again."""
        is_checkpointed = self.gradient_checkpointing and self.training
        return encoding.shares_score and self.config._attn_implementation in _DENSE and not is_checkpointed

    def _view(
        self,
        encoding: PositionEncoding,
        attention: str,
        mask: Mask | None,
        positions: Positions,
        hidden_states: torch.Tensor,
    ) -> View:
        """Mask and positions, with the term of the scores in the mask where all layers share its matrix."""
        if not self._shares_matrix(encoding):
            return View(mask, positions)
        layer = getattr(self.layers[0], attention).position
        span, prepared = positions.span, layer.project(positions.span, positions.query)
        shape = hidden_states.shape[0], self.config.heads_at(encoding.place)
        term = layer.dense(None, *shape, span, prepared, hidden_states.device)
        return View(add_to_mask(mask, term.to(hidden_states.dtype)), positions._replace(in_mask=True))


class LocantEncoder(LocantStack):
    """The encoder: every token sees every other, or those in its window."""

    _can_record_outputs = {"hidden_states": TransformerLayer, "attentions": Attention}  # noqa: RUF012

    def __init__(self, config: LocantConfig):
        super().__init__(config, "encoder")

    @merge_with_config_defaults
    @capture_outputs
    def forward(  # type: ignore[misc]  # TransformersKwargs repeats names of ours
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        document_ids: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutput:
        """Encode.

        Args:
            input_ids: `(batch, length)`.
            attention_mask: `(batch, length)`, 0 at padding; or `(batch or 1, 1 or heads, length, length)`, boolean or
                whole numbers with 0 where a token is not seen, or floating and then added to the scores.
            position_ids: `(batch or 1, length)`; by default the real tokens are counted from 0.
            inputs_embeds: `(batch, length, d_model)` instead of ids, before scaling.
            document_ids: `(batch, length)`, which document of a packed sequence each token is of: no token sees
                another document's, and positions are counted in each.

        Raises:
            ValueError: both or neither of ids and embeddings; a position beyond a learned table; a mask that the
                backend cannot do with.
        """
        hidden_states, position_ids, _ = self.embed(
            input_ids, inputs_embeds, attention_mask, position_ids, document_ids
        )
        views = self.views(hidden_states, attention_mask, position_ids, document_ids)
        kwargs.pop("use_cache", None)
        for layer in self.layers:
            hidden_states = layer(hidden_states, view=views[layer.attention_type], **kwargs)
        return BaseModelOutput(last_hidden_state=self.final_norm(hidden_states))


class LocantDecoder(LocantStack):
    """The decoder: every token sees those before it, and all of the encoder's."""

    _can_record_outputs = {  # noqa: RUF012
        "hidden_states": TransformerLayer,
        "attentions": OutputRecorder(Attention, index=1, layer_name="self_attn"),
        "cross_attentions": OutputRecorder(Attention, index=1, layer_name="cross_attn"),
    }
    is_causal = True

    def __init__(self, config: LocantConfig):
        super().__init__(config, "decoder")

    @merge_with_config_defaults
    @capture_outputs
    def forward(  # type: ignore[misc]  # TransformersKwargs repeats names of ours
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        document_ids: torch.Tensor | None = None,
        encoder_document_ids: torch.Tensor | None = None,
        encoder_position_ids: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """Decode.

        Args:
            input_ids: `(batch, length)`, the tokens that the cache does not hold yet.
            attention_mask: `(batch, past + length)`, 0 at padding; or `(batch or 1, 1 or heads, length,
                past + length)`, as in the encoder. Causality holds on top of it.
            position_ids: `(batch or 1, length)`; by default the real tokens are counted from 0.
            encoder_hidden_states: `(batch, source_length, d_model)`.
            encoder_attention_mask: `(batch, source_length)`, 0 at padding; or `(batch or 1, 1 or heads, length or 1,
                source_length)`.
            past_key_values: keys and values of earlier tokens.
            inputs_embeds: `(batch, length, d_model)` instead of ids, before scaling.
            use_cache: return a cache, a new one if none is given.
            document_ids: `(batch, past + length)`, which document of a packed sequence each token is of.
            encoder_document_ids: `(batch, source_length)`: a token sees what the encoder has of its own document.
            encoder_position_ids: `(batch or 1, source_length)`, where position enters cross-attention; by default
                counted like the decoder's.

        Raises:
            ValueError: both or neither of ids and embeddings; a position beyond a learned table; a cache that has
                no place for the encoder's keys; documents of one side only; a mask that the backend cannot do with.
        """
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
            if self.config.is_encoder_decoder:
                past_key_values = EncoderDecoderCache(past_key_values, DynamicCache())
        if encoder_hidden_states is not None:
            _check_cache(past_key_values)
            _keep_whole_source(past_key_values, encoder_hidden_states.shape[1])
        cache = getattr(past_key_values, "self_attention_cache", past_key_values)
        hidden_states, position_ids, slots = self.embed(
            input_ids, inputs_embeds, attention_mask, position_ids, document_ids, cache
        )
        views, cross_view = self.views(hidden_states, attention_mask, position_ids, document_ids, cache), View()
        if encoder_hidden_states is not None:
            cross_view = self.cross_view(
                hidden_states,
                encoder_hidden_states,
                encoder_attention_mask,
                (position_ids, encoder_position_ids),
                (document_ids, encoder_document_ids),
                views[self.layer_types[0]].positions.span.query_offset,
                slots,
            )
        for layer in self.layers:
            hidden_states = layer(
                hidden_states,
                encoder_hidden_states,
                view=views[layer.attention_type],
                cross_view=cross_view,
                past_key_values=past_key_values,
                **kwargs,
            )
        return BaseModelOutputWithPastAndCrossAttentions(
            last_hidden_state=self.final_norm(hidden_states), past_key_values=past_key_values
        )

    def cross_view(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        encoder_attention_mask: torch.Tensor | None,
        position_ids: tuple[torch.Tensor, torch.Tensor | None],
        document_ids: tuple[torch.Tensor | None, torch.Tensor | None],
        past_length: int | torch.Tensor,
        slots: int,
    ) -> View:
        """What all layers see of the encoder; pairs are the decoder's and the encoder's, `slots` bounds positions."""
        batch, length, source_length = hidden_states.shape[0], hidden_states.shape[1], encoder_hidden_states.shape[1]
        mask = build_mask(
            self.config,
            hidden_states,
            Span(length, source_length, past_length),
            encoder_attention_mask,
            documents=_both(document_ids),
            always=self._shares_matrix(self.cross_position),
        )
        own, others = position_ids
        if others is None:
            device = hidden_states.device
            others = build_position_ids(encoder_attention_mask, 0, source_length, device, document_ids[1])
        elif not is_compiling():
            source_length = int(others.max()) + 1
        prepared = [
            self.cross_position.prepare(states, ids)
            for states, ids in ((hidden_states, own), (encoder_hidden_states, others))
        ]
        span = PositionSpan(own.expand(batch, -1), others.expand(batch, -1), slots, source_length)
        return self._view(self.cross_position, "cross_attn", mask, Positions(span, *prepared), hidden_states)


def _of_slots(document_ids: torch.Tensor, slots: int | torch.Tensor) -> torch.Tensor:
    """Documents by the slot of a key; the empty slots of a static cache are of none."""
    return nn.functional.pad(document_ids, (0, max(0, slots - document_ids.shape[1])), value=-1)


def _both(document_ids: tuple[torch.Tensor | None, torch.Tensor | None]) -> Documents | None:
    own, others = document_ids
    if own is None and others is None:
        return None
    if own is None or others is None:
        given, missing = ("the encoder's", "the decoder's") if own is None else ("the decoder's", "the encoder's")
        raise ValueError(f"document_ids are given for {given} tokens only: give {missing} too.")
    return Documents(own, others)


def _check_cache(past_key_values: Cache | None) -> None:
    if not isinstance(past_key_values, EncoderDecoderCache | None):
        raise ValueError(
            f"A decoder that attends to an encoder needs an EncoderDecoderCache, with a cache for each of its two "
            f"attentions, but past_key_values is a {type(past_key_values).__name__}."
        )


def _keep_whole_source(past_key_values: EncoderDecoderCache | None, source_length: int) -> None:
    """Let no layer of a cross-attention cache slide, as transformers makes them for a decoder whose own do."""
    if past_key_values is None or any(past_key_values.is_updated.values()):
        return
    layers = past_key_values.cross_attention_cache.layers
    for idx, layer in enumerate(layers):
        if layer.is_sliding:
            layers[idx] = StaticLayer(source_length) if isinstance(layer, StaticLayer) else DynamicLayer()
