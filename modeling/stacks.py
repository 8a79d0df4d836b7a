# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The encoder and the decoder: embeddings, position, layers, final norm."""

import math

import torch
from torch import nn
from torch.compiler import is_compiling
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPastAndCrossAttentions
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from locant.configuration.configuration_locant import LocantConfig

from .attention import Attention
from .layers import TransformerLayer
from .masks import build_mask, build_position_ids
from .norms import build_final_norm
from .positions.base import Positions, Stack
from .positions.registry import build_position_encoding
from .pretrained import LocantPreTrainedModel


class LocantStack(LocantPreTrainedModel):
    """What both stacks are made of.

    Args:
        config: the model's configuration.
        stack: which of the two this is.
    """

    def __init__(self, config: LocantConfig, stack: Stack):
        super().__init__(config)
        config.validate()  # fields may have been set since it was made
        self.embed_tokens: nn.Module = nn.Embedding(config.vocab_size, config.d_model)
        self.embed_scale = math.sqrt(config.d_model) if config.scale_embedding else 1.0
        self.embed_dropout = nn.Dropout(config.dropout)
        self.position = build_position_encoding(config, stack)
        self.layers = nn.ModuleList(
            TransformerLayer(config, stack, idx, self.position.layer(idx))
            for idx in range(getattr(config, f"{stack}_layers"))
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
        cache: Cache | None = None,
    ) -> tuple[torch.Tensor, Positions]:
        """The first hidden states `(batch, length, d_model)`, and what the layers need to know of position."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give either token ids or embeddings, and not both.")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        hidden_states = inputs_embeds * self.embed_scale
        past_length = cache.get_seq_length() if cache is not None else 0
        if isinstance(past_length, torch.Tensor):
            past_length = past_length.clone()  # a static cache goes on counting in the same tensor
            slots = cache.get_max_length()
        else:
            slots = past_length + hidden_states.shape[1]
        if position_ids is None:
            position_ids = build_position_ids(attention_mask, past_length, hidden_states.shape[1], hidden_states.device)
        elif not is_compiling():
            slots = int(position_ids.max()) + 1
        hidden_states = self.embed_dropout(self.position.embed(hidden_states, position_ids, slots))
        prepared = self.position.prepare(hidden_states, position_ids)
        return hidden_states, Positions(past_length, prepared, prepared)


class LocantEncoder(LocantStack):
    """The encoder: every token sees every other."""

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
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutput:
        """Encode.

        Args:
            input_ids: `(batch, length)`.
            attention_mask: `(batch, length)`, 0 at padding; or `(batch, 1 or heads, length, length)`.
            position_ids: `(batch or 1, length)`; by default the real tokens are counted from 0.
            inputs_embeds: `(batch, length, d_model)` instead of ids, before scaling.

        Raises:
            ValueError: both or neither of ids and embeddings; a position beyond a learned table.
        """
        hidden_states, positions = self.embed(input_ids, inputs_embeds, attention_mask, position_ids)
        mask = build_mask(self.config, hidden_states, attention_mask)
        kwargs.pop("use_cache", None)
        for layer in self.layers:
            hidden_states = layer(hidden_states, attention_mask=mask, positions=positions, **kwargs)
        return BaseModelOutput(last_hidden_state=self.final_norm(hidden_states))


class LocantDecoder(LocantStack):
    """The decoder: every token sees those before it, and all of the encoder's."""

    _can_record_outputs = {  # noqa: RUF012
        "hidden_states": TransformerLayer,
        "attentions": OutputRecorder(Attention, index=1, layer_name="self_attn"),
        "cross_attentions": OutputRecorder(Attention, index=1, layer_name="cross_attn"),
    }

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
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """Decode.

        Args:
            input_ids: `(batch, length)`, the tokens that the cache does not hold yet.
            attention_mask: `(batch, past + length)`, 0 at padding; or four-dimensional.
            position_ids: `(batch or 1, length)`; by default the real tokens are counted from 0.
            encoder_hidden_states: `(batch, source_length, d_model)`.
            encoder_attention_mask: `(batch, source_length)`, 0 at padding; or four-dimensional.
            past_key_values: keys and values of earlier tokens.
            inputs_embeds: `(batch, length, d_model)` instead of ids, before scaling.
            use_cache: return a cache, a new one if none is given.

        Raises:
            ValueError: both or neither of ids and embeddings; a position beyond a learned table; a cache that has
                no place for the encoder's keys.
        """
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
            if self.config.is_encoder_decoder:
                past_key_values = EncoderDecoderCache(past_key_values, DynamicCache(config=self.config))
        if encoder_hidden_states is not None and not isinstance(past_key_values, EncoderDecoderCache | None):
            raise ValueError(
                f"A decoder that attends to an encoder needs an EncoderDecoderCache, with a cache for each of its two "
                f"attentions, but past_key_values is a {type(past_key_values).__name__}."
            )
        cache = getattr(past_key_values, "self_attention_cache", past_key_values)
        hidden_states, positions = self.embed(input_ids, inputs_embeds, attention_mask, position_ids, cache)
        mask = build_mask(self.config, hidden_states, attention_mask, is_causal=True, cache=cache)
        cross_mask = None
        if encoder_hidden_states is not None:
            cross_mask = build_mask(
                self.config,
                hidden_states,
                encoder_attention_mask,
                encoder_hidden_states=encoder_hidden_states,
            )
        for layer in self.layers:
            hidden_states = layer(
                hidden_states,
                encoder_hidden_states,
                attention_mask=mask,
                encoder_attention_mask=cross_mask,
                positions=positions,
                past_key_values=past_key_values,
                **kwargs,
            )
        return BaseModelOutputWithPastAndCrossAttentions(
            last_hidden_state=self.final_norm(hidden_states), past_key_values=past_key_values
        )
