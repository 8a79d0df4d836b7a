# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The encoders and the decoder: embeddings, position, layers, final norm."""

import math
from typing import Any, Literal, cast

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
from locant.configuration.position_encodings import Place

from .attention import Attention, span_of_cache
from .layers import TransformerLayer
from .masks import documents_of_positions
from .norms import build_final_norm, build_norm
from .patches import PatchEmbedding
from .positions.registry import build_position_encoding
from .pretrained import LocantPreTrainedModel
from .views import Tokens, View, number_tokens, view_across, view_of_self


class LocantStack(LocantPreTrainedModel):
    """What all stacks are made of, once there are vectors.

    Args:
        config: the model's configuration.
        stack: which of the two this is.
    """

    def __init__(self, config: LocantConfig, stack: Literal["encoder", "decoder"]):
        super().__init__(config)
        config.validate()  # fields may have been set since it was made
        self.stack = stack
        self.add_embeddings(config)
        self.position = build_position_encoding(config, stack)
        self.embed_norm = build_norm(config) if config.embedding_norm else nn.Identity()
        self.embed_dropout = nn.Dropout(config.dropout)
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

    def add_embeddings(self, config: LocantConfig) -> None:
        """Make the modules of what the stack reads: before the layers, as devices are filled in this order."""
        raise NotImplementedError

    def with_positions(self, tokens: Tokens) -> Tokens:
        """Tokens whose vectors know their position, where the encoding says it there, and are ready for the layers."""
        hidden_states = self.position.embed(tokens.hidden_states, tokens.position_ids, tokens.limit)
        return tokens._replace(hidden_states=self.embed_dropout(self.embed_norm(hidden_states)))

    def run_layers(
        self,
        tokens: Tokens,
        encoder_hidden_states: torch.Tensor | None = None,
        cross_view: View = View(),  # noqa: B008 (a tuple)
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """All layers over tokens with positions: `(batch, length, d_model)`."""
        cache = getattr(past_key_values, "self_attention_cache", past_key_values)
        views, hidden_states = self.views(tokens, cache), tokens.hidden_states
        depth = getattr(self.config, f"{self.stack}_layers")  # which assisted decoding by early exit lowers
        for layer, layer_type in zip(self.layers, self.layer_types[:depth], strict=False):
            hidden_states = layer(
                hidden_states,
                encoder_hidden_states,
                view=views[layer_type],
                cross_view=cross_view,
                past_key_values=past_key_values,
                **kwargs,
            )
        return self.final_norm(hidden_states)

    def views(self, tokens: Tokens, cache: Cache | None = None) -> dict[str, View]:
        """What the layers of each type see of their own sequence."""
        views = {}
        for layer_type in dict.fromkeys(self.layer_types):
            idx = self.layer_types.index(layer_type)
            span = span_of_cache(cache, tokens.hidden_states.shape[1], idx)
            attention = cast(TransformerLayer, self.layers[idx]).self_attn
            views[layer_type] = view_of_self(attention, self.position, tokens, span, cache, self.shares_terms)
        return views

    @property
    def shares_terms(self) -> bool:
        """Whether layers may share what is made before them: not those that are computed again in the backward pass."""
        return not (self.gradient_checkpointing and self.training)


class LocantTokenStack(LocantStack):
    """A stack that reads tokens."""

    def add_embeddings(self, config: LocantConfig) -> None:
        """The token embeddings, and their scale."""
        self.embed_tokens: nn.Module = nn.Embedding(config.vocab_size, config.d_model)
        self.embed_scale = math.sqrt(config.d_model) if config.scale_embedding else 1.0

    def get_input_embeddings(self) -> nn.Module:
        """The token embeddings."""
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embeddings."""
        self.embed_tokens = value

    def embed(self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None) -> torch.Tensor:
        """Token embeddings, scaled.

        Raises:
            ValueError: both or neither are given.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give either token ids or embeddings, and not both.")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        return inputs_embeds * self.embed_scale


class LocantEncoder(LocantTokenStack):
    """The encoder: every token sees every other, or those in its window."""

    _can_record_outputs = {"hidden_states": TransformerLayer, "attentions": Attention}  # noqa: RUF012
    places = ("encoder",)

    def __init__(self, config: LocantConfig):
        super().__init__(config, "encoder")
        self.post_init()

    def add_embeddings(self, config: LocantConfig) -> None:
        """The token embeddings, and those of their types."""
        super().add_embeddings(config)
        types = config.type_vocab_size
        self.embed_token_types = nn.Embedding(types, config.d_model) if types else None

    @merge_with_config_defaults
    @capture_outputs
    def forward(  # type: ignore[misc]  # TransformersKwargs repeats names of ours
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
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
            token_type_ids: `(batch, length)`, below `type_vocab_size`; by default 0.
            inputs_embeds: `(batch, length, d_model)` instead of ids, before scaling.
            document_ids: `(batch, length)`, which document of a packed sequence each token is of: no token sees
                another document's, and positions are counted in each.

        Raises:
            ValueError: both or neither of ids and embeddings; a position beyond a learned table; a mask that the
                backend cannot do with; token types where there are none.
        """
        kwargs.pop("use_cache", None)
        refuse_input("pixel_values", kwargs, 'an encoder of tokens: encoder_input="patches" makes one of images')
        hidden_states = self._add_token_types(self.embed(input_ids, inputs_embeds), token_type_ids)
        longest = self.config.max_position_embeddings
        tokens = number_tokens(hidden_states, attention_mask, position_ids, document_ids, longest=longest)
        return BaseModelOutput(last_hidden_state=self.run_layers(self.with_positions(tokens), **kwargs))

    def _add_token_types(self, hidden_states: torch.Tensor, token_type_ids: torch.Tensor | None) -> torch.Tensor:
        if self.embed_token_types is None:
            if token_type_ids is not None and not is_compiling() and token_type_ids.any():
                raise ValueError("token_type_ids are given, but type_vocab_size is 0: set it to their number.")
            return hidden_states
        if token_type_ids is None:
            token_type_ids = hidden_states.new_zeros(1, 1, dtype=torch.long)
        return hidden_states + self.embed_token_types(token_type_ids)


class LocantImageEncoder(LocantStack):
    """The encoder of images: every patch sees every other."""

    _can_record_outputs = {"hidden_states": TransformerLayer, "attentions": Attention}  # noqa: RUF012
    places = ("encoder",)

    def __init__(self, config: LocantConfig):
        super().__init__(config, "encoder")
        self.post_init()

    def add_embeddings(self, config: LocantConfig) -> None:
        """The embedding of patches."""
        self.embed_patches = PatchEmbedding(config)

    def get_input_embeddings(self) -> nn.Module:
        """The projection of patches."""
        return self.embed_patches.projection

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self, pixel_values: torch.Tensor | None = None, **kwargs: Unpack[TransformersKwargs]
    ) -> BaseModelOutput:
        """Encode.

        Args:
            pixel_values: `(batch, channels, height, width)`, of any size that is a whole number of patches.

        Returns:
            `last_hidden_state`, `(batch, tokens, d_model)`: the class token if there is one, then the patches row by
            row.

        Raises:
            ValueError: no images, or of another shape; inputs that are made for tokens.
        """
        cast(Any, kwargs).pop("use_cache", None)
        for name in ("input_ids", "inputs_embeds", "attention_mask", "position_ids", "token_type_ids", "document_ids"):
            refuse_input(name, kwargs, "an encoder of images, which takes pixel_values only")
        if pixel_values is None:
            raise ValueError("An encoder of images needs pixel_values (batch, channels, height, width).")
        grid = self.embed_patches.grid(pixel_values)
        hidden_states = self.embed_patches(pixel_values)
        tokens = Tokens(hidden_states, None, None, self.embed_patches.positions(grid, hidden_states.device), grid)
        return BaseModelOutput(last_hidden_state=self.run_layers(self.with_positions(tokens), **kwargs))


def build_encoder(config: LocantConfig) -> LocantEncoder | LocantImageEncoder:
    """The encoder of what `config.encoder_input` names."""
    return (LocantImageEncoder if config.encoder_input == "patches" else LocantEncoder)(config)


def refuse_input(name: str, given: Any, where: str) -> None:
    """Take an input out of those `given`, and raise `ValueError` where it is not None."""
    if given.pop(name, None) is not None:
        raise ValueError(f"{name} is given to {where}.")


class LocantDecoder(LocantTokenStack):
    """The decoder: every token sees those before it, and all of the encoder's."""

    _can_record_outputs = {  # noqa: RUF012
        "hidden_states": TransformerLayer,
        "attentions": OutputRecorder(Attention, index=1, layer_name="self_attn"),
        "cross_attentions": OutputRecorder(Attention, index=1, layer_name="cross_attn"),
    }

    def __init__(self, config: LocantConfig):
        super().__init__(config, "decoder")
        self.post_init()

    @property
    def places(self) -> tuple[Place, ...]:
        """Its own attention, and that to an encoder where there is one."""
        return ("decoder", "cross") if self.config.is_encoder_decoder else ("decoder",)

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
            document_ids: `(batch, past + length)`, which document of a packed sequence each token is of; in a decoder
                alone without mask and cache, positions that begin anew say so too.
            encoder_document_ids: `(batch, source_length)`: a token sees what the encoder has of its own document.
            encoder_position_ids: `(batch or 1, source_length)`, where position enters cross-attention; by default
                counted like the decoder's.

        Raises:
            ValueError: both or neither of ids and embeddings; a position beyond a learned table; a cache that has
                no place for the encoder's keys; documents of one side only; a mask that the backend cannot do with.
        """
        refuse_input("pixel_values", kwargs, "a decoder, which reads tokens only")
        is_whole = attention_mask is None and past_key_values is None and self.cross_position is None
        if document_ids is None and is_whole:
            document_ids = documents_of_positions(position_ids)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
            if self.config.is_encoder_decoder:
                past_key_values = EncoderDecoderCache(past_key_values, DynamicCache())
        if encoder_hidden_states is not None and self.cross_position is None:
            raise ValueError("This decoder has no cross-attention for encoder_hidden_states: set is_encoder_decoder.")
        if encoder_hidden_states is not None and past_key_values is not None:
            _prepare_cross_cache(past_key_values, encoder_hidden_states.shape[1])
        cache = getattr(past_key_values, "self_attention_cache", past_key_values)
        hidden_states, longest = self.embed(input_ids, inputs_embeds), self.config.max_position_embeddings
        tokens = number_tokens(hidden_states, attention_mask, position_ids, document_ids, cache, longest)
        tokens, cross_view = self.with_positions(tokens), View()
        if encoder_hidden_states is not None:
            source = number_tokens(
                encoder_hidden_states,
                encoder_attention_mask,
                encoder_position_ids,
                encoder_document_ids,
                longest=longest,
            )
            past_length = span_of_cache(cache, hidden_states.shape[1], 0).query_offset
            attention = cast(TransformerLayer, self.layers[0]).cross_attn
            assert attention is not None and self.cross_position is not None
            cross_view = view_across(attention, self.cross_position, tokens, source, past_length, self.shares_terms)
        hidden_states = self.run_layers(tokens, encoder_hidden_states, cross_view, past_key_values, **kwargs)
        return BaseModelOutputWithPastAndCrossAttentions(
            last_hidden_state=hidden_states, past_key_values=past_key_values
        )


def _prepare_cross_cache(past_key_values: Cache, source_length: int) -> None:
    """Let no layer slide before the source comes in, as transformers makes them for a decoder whose own do.

    Raises:
        ValueError: there is no cache for cross-attention.
    """
    if not isinstance(past_key_values, EncoderDecoderCache):
        raise ValueError(
            f"A decoder that attends to an encoder needs an EncoderDecoderCache, with a cache for each of its two "
            f"attentions, but past_key_values is a {type(past_key_values).__name__}."
        )
    if any(past_key_values.is_updated.values()):
        return
    layers = past_key_values.cross_attention_cache.layers
    for idx, layer in enumerate(layers):
        if getattr(layer, "is_sliding", False):
            layers[idx] = StaticLayer(source_length) if isinstance(layer, StaticLayer) else DynamicLayer()
