# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The encoder and the decoder of tokens: embeddings, position encoding, layers, final norm."""

import math
import re
from functools import partial
from typing import Any, ClassVar

import torch
from torch import nn
from torch.compiler import is_compiling
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, EncoderDecoderCache, StaticLayer
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPastAndCrossAttentions
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from locant.configuration.configuration_locant import LocantConfig, Stack
from locant.configuration.position_encodings import AttentionKind

from .attention import Attention, CrossAttention, SelfAttention
from .attention_inputs import AttentionInputs, cross_attention_inputs, query_offset, self_attention_inputs
from .cache_names import CACHE, takes_cache_as
from .generation import SourceCache
from .layers import Dropout, TransformerLayer, build_norm
from .positions.base import PositionEncoding, build_position_encoding
from .pretrained import LocantPreTrainedModel
from .stack_inputs import NeededTokens, StackInputs, check_tensors, prepare_stack_inputs, self_attention_cache


class LocantStack(LocantPreTrainedModel):
    """Base class of encoders and decoders: embeddings, position encoding, layers, final norm.

    Args:
        config: the model's configuration.
        stack: `encoder` or `decoder`.
    """

    _fsdp_plan = {"layers.*": "free_full_weight"}  # noqa: RUF012 (declared in the base class)
    _can_record_outputs = {"hidden_states": TransformerLayer, "attentions": Attention}  # noqa: RUF012

    def __init__(self, config: LocantConfig, stack: Stack):
        super().__init__(config)
        config.validate()  # fields may have been set after the config was made and checked
        self.stack = stack
        self.add_embeddings(config)
        self.position = build_position_encoding(config, stack)
        self.embed_norm = build_norm(config) if config.embedding_norm else nn.Identity()
        self.embed_dropout = Dropout(config.dropout)
        has_cross_attention = stack == "decoder" and config.is_encoder_decoder
        self.cross_position = build_position_encoding(config, "cross") if has_cross_attention else None
        self.layer_types = config.layer_types_of(stack)
        self.layers = nn.ModuleList(
            TransformerLayer(
                config,
                stack,
                idx,
                self.position.build_layer(idx),
                self.cross_position.build_layer(idx) if self.cross_position is not None else None,
            )
            for idx in range(len(self.layer_types))
        )
        self.final_norm = build_norm(config) if config.norm_position == "pre" else nn.Identity()
        self.gradient_checkpointing = False

    def add_embeddings(self, config: LocantConfig) -> None:
        """Add the embedding modules, before the layers, because `device_map` fills devices in the order of modules."""
        raise NotImplementedError

    def init_parallel_plans(self) -> None:
        """Set the parallel plans as in transformers, and add the `tensor_parallel_plan` of each module to `tp_plan`."""
        super().init_parallel_plans()
        plan = {}
        for name, module in self.named_modules():
            for part, style in getattr(module, "tensor_parallel_plan", {}).items():
                if not part or getattr(module, part, None) is not None:
                    full_name = ".".join(filter(None, (name, part)))
                    plan[re.sub(r"\.\d+\.", ".*.", full_name)] = style  # one rule for all layers
        self._tp_plan = {**(self._tp_plan or {}), **plan}

    def position_bound_if_needed(self, *encodings: PositionEncoding | None) -> int | None:
        """Return `max_position_embeddings` if one of the encodings sets `needs_position_bound`, else None."""
        needs = any(encoding is not None and encoding.needs_position_bound for encoding in encodings)
        return self.config.max_position_embeddings if needs else None

    @property
    def adds_bias_to_mask(self) -> bool:
        """Whether a shared position bias is added to the mask once for all layers.

        It is True for the backends whose mask is a matrix, eager and sdpa, but False under gradient checkpointing: with
        `use_reentrant=True`, each layer runs a separate backward pass through the bias, and the first of these passes
        would free the graph that the other passes need.
        """
        is_checkpointed = self.gradient_checkpointing and self.training
        return not is_checkpointed and self.config._attn_implementation in ("eager", "sdpa")

    def run_layers(
        self,
        inputs: StackInputs,
        source: StackInputs | None = None,
        past_key_values: Cache | None = None,
        needed_tokens: torch.Tensor | None = None,
        encoder_needed_tokens: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Run the stack on embeddings: position encoding, norm and dropout, layers, final norm.

        Args:
            inputs: the embeddings, without position yet, with their mask, document ids and position ids.
            source: the encoder's output with mask, document ids and position ids, as `LocantDecoder.forward` bundles
                them for cross-attention; or None.
            past_key_values: the cache, or None.
            needed_tokens, encoder_needed_tokens: `(batch, length)` and `(batch, source_length)`; 0 at tokens whose
                output is not used and to which no needed token attends; None if all tokens are needed. They are ignored
                if there is a cache.
            kwargs: arguments for the attention backends, which the layers pass on.

        Returns:
            `(batch, length, d_model)`.
        """
        hidden_states, position_tensors = self.position(
            inputs.hidden_states, inputs.position_ids, inputs.position_bound
        )
        hidden_states = self.embed_dropout(self.embed_norm(hidden_states))
        # with `device_map`, the embeddings may be on another device than the modules after them
        inputs = inputs._replace(hidden_states=hidden_states).on(hidden_states.device)
        if past_key_values is None:
            inputs = inputs._replace(tokens=NeededTokens.of(needed_tokens, hidden_states))
        if source is not None and past_key_values is None:
            source = source._replace(tokens=NeededTokens.of(encoder_needed_tokens, source.hidden_states))

        cache = self_attention_cache(past_key_values)
        self_inputs: dict[str, AttentionInputs] = {
            layer_type: self_attention_inputs(
                self.config,
                self.position,
                position_tensors,
                inputs,
                window=self.config.window_of(layer_type),
                cache=cache,
                layer_idx=self.layer_types.index(layer_type),  # the cache has the same size in all layers of a type
                adds_bias_to_mask=self.adds_bias_to_mask,
            )
            for layer_type in dict.fromkeys(self.layer_types)
        }
        cross_inputs = None
        if source is not None and self.cross_position is not None:
            cross_inputs = self._cross_inputs(inputs, source, past_key_values)

        depth = getattr(self.config, f"{self.stack}_layers")  # assisted decoding by early exit reduces this number
        for layer, layer_type in zip(self.layers, self.layer_types[:depth], strict=False):
            hidden_states = layer(
                hidden_states,
                source.hidden_states if source is not None else None,
                self_inputs=self_inputs[layer_type],
                cross_inputs=cross_inputs,
                **{CACHE: past_key_values},  # gradient checkpointing of transformers looks for this name
                **kwargs,
            )
        return self.final_norm(hidden_states)

    def _cross_inputs(self, inputs: StackInputs, source: StackInputs, past_key_values: Cache | None) -> AttentionInputs:
        """Make the inputs of cross-attention; with a `SourceCache`, several steps of `generate()` may share one result.

        Steps share a result if cross-attention has no position encoding (the class `PositionEncoding` itself is the
        encoding `none`) and there are no document ids. The result then depends only on the source, the backend and the
        shape of the decoder's embeddings: no layer reads the positions in it, and the mask does not depend on the slots
        of the queries. `forward` takes `source` from the `SourceCache` too, so all steps have the same object `source`.
        """
        assert self.cross_position is not None
        is_cached = isinstance(past_key_values, EncoderDecoderCache) and past_key_values.is_updated.get(0, False)
        make = partial(
            cross_attention_inputs,
            self.config,
            self.cross_position,
            inputs,
            source,
            q_offset=query_offset(self_attention_cache(past_key_values)),
            has_new_keys=not is_cached,
            adds_bias_to_mask=self.adds_bias_to_mask,
        )
        has_position = type(self.cross_position) is not PositionEncoding
        if not isinstance(past_key_values, SourceCache) or has_position or inputs.document_ids is not None:
            return make()
        key = ("cross", self.config._attn_implementation, *inputs.hidden_states.shape)
        return past_key_values.made_once(key, (source,), make)


class LocantTokenStack(LocantStack):
    """Base class of the stacks that read tokens, which adds the token embeddings."""

    tensor_parallel_plan: ClassVar[dict[str, str]] = {"embed_tokens": "embedding_rowwise"}

    def add_embeddings(self, config: LocantConfig) -> None:
        """Add the token embeddings, and set the factor by which they are multiplied."""
        self.embed_tokens: nn.Module = nn.Embedding(config.vocab_size, config.d_model)
        self.embed_scale = math.sqrt(config.d_model) if config.scale_embedding else 1.0

    def embed(self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None) -> torch.Tensor:
        """Return the embeddings of `input_ids`, or the given `inputs_embeds`, times `embed_scale`.

        `inputs_embeds` is cast to the dtype of the norms' weights, which quantisation leaves in floating point.

        Raises:
            ValueError: both inputs or none of them are given; `input_ids` does not have 2 dimensions, or
                `inputs_embeds` does not have 3.
            TypeError: the input is not a tensor.
            IndexError: an id is beyond the vocabulary, and the embeddings are on a CPU.
        """
        prefix = "decoder_" if self.stack == "decoder" and self.config.is_encoder_decoder else ""
        _check_input(prefix, input_ids, inputs_embeds)
        if inputs_embeds is not None:
            first: Any = self.layers[0]
            return inputs_embeds.to(first.self_attn_residual.norm.weight.dtype) * self.embed_scale
        try:
            return self.embed_tokens(input_ids) * self.embed_scale
        except IndexError as error:
            assert input_ids is not None  # checked by _check_input
            low, high = input_ids.aminmax()
            known = f"must be from 0 to {self.config.vocab_size - 1}, as vocab_size is {self.config.vocab_size}"
            raise IndexError(f"{prefix}input_ids {known}, but are from {low} to {high}.") from error


def _check_input(prefix: str, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None) -> None:
    ids, embeds = f"{prefix}input_ids", f"{prefix}inputs_embeds"
    if input_ids is not None and inputs_embeds is not None:
        raise ValueError(f"{ids} and {embeds} are both given: leave one of them out.")
    if input_ids is None and inputs_embeds is None:
        of_labels = (
            ", or labels, from which a model with a head, or DataCollatorForSeq2Seq(..., model=model), computes them"
            if prefix
            else ""
        )
        raise ValueError(f"There are no {ids}: give them, or {embeds}{of_labels}.")
    check_tensors(**{ids: input_ids, embeds: inputs_embeds})
    if input_ids is not None and input_ids.ndim != 2:
        raise ValueError(f"{ids} has the shape {tuple(input_ids.shape)}: give (batch, length).")
    if inputs_embeds is not None and inputs_embeds.ndim != 3:
        raise ValueError(f"{embeds} has the shape {tuple(inputs_embeds.shape)}: give (batch, length, d_model).")


def refuse_input(name: str, given: Any, receiver_and_remedy: str) -> None:
    """Remove the argument `name` from the dictionary `given`, and raise `ValueError` if its value is not None.

    Models pass all arguments to their stacks, also arguments that only another kind of stack takes.
    `receiver_and_remedy` is the end of the error message.
    """
    if given.pop(name, None) is not None:
        raise ValueError(f"{name} is given to {receiver_and_remedy}.")


class LocantEncoder(LocantTokenStack):
    """The encoder: every token sees all tokens, or the tokens in its window."""

    # pretrained.py chooses the backend by these kinds
    attention_kinds: ClassVar[tuple[AttentionKind, ...]] = ("encoder",)

    def __init__(self, config: LocantConfig):
        super().__init__(config, "encoder")
        self.post_init()

    def add_embeddings(self, config: LocantConfig) -> None:
        """Add the token embeddings and the token type embeddings."""
        super().add_embeddings(config)
        types = config.type_vocab_size
        self.embed_token_types = nn.Embedding(types, config.d_model) if types else None

    @capture_outputs
    def forward(  # type: ignore[misc]  # TransformersKwargs has some of these names too
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        document_ids: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutput:
        """Encode tokens.

        Args:
            input_ids: `(batch, length)`.
            attention_mask: a padding mask `(batch, length)` with 0 at padding; or a custom mask
                `(batch or 1, 1 or heads, length, length)`. A boolean or integer custom mask is 0 where a token is not
                seen; a floating-point custom mask is added to the scores.
            position_ids: `(batch or 1, length)`; by default the real tokens are counted from 0.
            token_type_ids: `(batch, length)`, below `type_vocab_size`; by default 0.
            inputs_embeds: embeddings `(batch, length, d_model)` instead of ids; the stack multiplies them by
                sqrt(d_model) if `scale_embedding` is set.
            document_ids: `(batch or 1, length)`, the document of each token of a packed sequence: a token sees its own
                document only, and positions are counted from 0 in each document.

        Raises:
            ValueError: ids and embeddings are both given or both missing; a position is beyond a learned table; the
                backend cannot take the mask; there are token types other than 0, but `type_vocab_size` is 0.
        """
        kwargs.pop("use_cache", None)  # an encoder has no cache
        refuse_input("pixel_values", kwargs, 'an encoder of tokens: set encoder_input="patches" to encode images')
        hidden_states = self._add_token_types(self.embed(input_ids, inputs_embeds), token_type_ids)
        inputs = prepare_stack_inputs(
            hidden_states,
            attention_mask,
            position_ids,
            document_ids,
            max_position_embeddings=self.position_bound_if_needed(self.position),
        )
        return BaseModelOutput(last_hidden_state=self.run_layers(inputs, **kwargs))

    def _add_token_types(self, hidden_states: torch.Tensor, token_type_ids: torch.Tensor | None) -> torch.Tensor:
        if self.embed_token_types is None:
            if token_type_ids is not None and not is_compiling() and token_type_ids.any():
                raise ValueError(
                    "token_type_ids are given, but type_vocab_size is 0: leave them out, or set type_vocab_size to the "
                    "number of token types."
                )
            return hidden_states
        if token_type_ids is None:
            token_type_ids = hidden_states.new_zeros(1, 1, dtype=torch.long)
        return hidden_states + self.embed_token_types(token_type_ids)


ENCODERS: dict[str, type[LocantStack]] = {"tokens": LocantEncoder}
"""The encoder class for each value of `config.encoder_input`; image_encoder.py adds the class for `patches`."""


def build_encoder(config: LocantConfig) -> LocantStack:
    """Build the encoder for `config.encoder_input`.

    Raises:
        ValueError: `ENCODERS` has no class for `config.encoder_input`. The code that is saved with a model contains
            only the encoder class of that model.
    """
    if config.encoder_input not in ENCODERS:
        raise ValueError(
            f"encoder_input is {config.encoder_input}, but the code in the model's folder has only the encoder of "
            f"{', '.join(ENCODERS)}: install and import locant."
        )
    return ENCODERS[config.encoder_input](config)  # type: ignore[call-arg]  # encoder classes take no `stack`


_DECODER_STATES = OutputRecorder(TransformerLayer)
# transformers resolves negative layer numbers with the number of layers in this config field. The name of the field is
# set as an attribute, because the constructor of `OutputRecorder` has no argument for it in the oldest release of
# transformers that Locant supports
_DECODER_STATES.num_hidden_layers_key = "decoder_layers"


class LocantDecoder(LocantTokenStack):
    """The decoder: every token sees itself and the tokens before it, and, if there is an encoder, the source tokens.

    In a layer with a sliding window, a token sees only the earlier tokens in its window.
    """

    _can_record_outputs = {  # noqa: RUF012
        "hidden_states": _DECODER_STATES,
        "attentions": OutputRecorder(SelfAttention, index=1),
        "cross_attentions": OutputRecorder(CrossAttention, index=1),
    }

    def __init__(self, config: LocantConfig):
        super().__init__(config.with_stacks(encoder=config.is_encoder_decoder), "decoder")
        self.post_init()

    @property
    def attention_kinds(self) -> tuple[AttentionKind, ...]:
        """The kinds of attention in this stack: self-attention, and cross-attention if there is an encoder."""
        return ("decoder", "cross") if self.config.is_encoder_decoder else ("decoder",)

    @takes_cache_as("past_key_values")
    @merge_with_config_defaults
    @capture_outputs
    def forward(  # type: ignore[misc]  # TransformersKwargs has some of these names too
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
        """Run the decoder on tokens or embeddings.

        Args:
            input_ids: `(batch, length)`, the tokens that the cache does not hold yet.
            attention_mask: `(batch, past + length)`, 0 at padding; or `(batch or 1, 1 or heads, length,
                past + length)`, as in the encoder. It is combined with causality.
            position_ids: `(batch or 1, length)`, or `(batch or 1, past + length)` with the positions of the tokens in
                the cache. Encodings of distances (Shaw, Transformer-XL, T5, ALiBi) need the positions of all tokens,
                unless the given positions equal the default. By default, the real tokens are counted from 0.
            encoder_hidden_states: `(batch, source_length, d_model)`.
            encoder_attention_mask: `(batch, source_length)`, 0 at padding; or `(batch or 1, 1 or heads, length or 1,
                source_length)`. `batch` is the batch size of `encoder_hidden_states`; with four dimensions, it may also
                be the batch size of `input_ids`.
            past_key_values: the cache, with keys and values of earlier tokens; it may also be given as `cache`.
            inputs_embeds: embeddings `(batch, length, d_model)` instead of ids; the stack multiplies them by
                sqrt(d_model) if `scale_embedding` is set.
            use_cache: make a cache if none is given. In any case, a given cache gets the new keys and values and is
                returned.
            document_ids: `(batch or 1, past + length)`, the document of each token of a packed sequence. If they are
                not given, a restart of `position_ids` starts a new document, unless there is a mask, a cache or
                cross-attention.
            encoder_document_ids: `(batch or 1, source_length)`; a token sees only source tokens of its own document.
            encoder_position_ids: `(batch or 1, source_length)`, read if cross-attention has a position encoding; by
                default, the real source tokens are counted from 0.

        Raises:
            ValueError: ids and embeddings are both given or both missing; a position is beyond a learned table; the
                cache cannot hold keys of cross-attention; document ids are given for one of the stacks only; the
                backend cannot take the mask; an encoding of distances needs the positions of all tokens, but only the
                positions of the new tokens are given; there are hidden states of an encoder, but no cross-attention.
        """
        refuse_input("pixel_values", kwargs, "a decoder, which reads tokens only: leave it out")
        may_be_packed = attention_mask is None and past_key_values is None and self.cross_position is None
        if use_cache and past_key_values is None:
            past_key_values = self._new_cache()
        hidden_states, cache = self.embed(input_ids, inputs_embeds), self_attention_cache(past_key_values)
        inputs = prepare_stack_inputs(
            hidden_states,
            attention_mask,
            position_ids,
            document_ids,
            cache,
            self.position_bound_if_needed(self.position, self.cross_position),
            may_be_packed,
        )
        source = None
        if encoder_hidden_states is not None:
            self._check_cross_attention(past_key_values)
            _fit_cross_attention_cache(past_key_values, encoder_hidden_states.shape[1])
            if isinstance(past_key_values, SourceCache):
                past_key_values.repeat_sources(encoder_hidden_states.shape[0])
            given = encoder_hidden_states, encoder_attention_mask, encoder_position_ids, encoder_document_ids
            bound = self.position_bound_if_needed(self.cross_position)
            make = partial(prepare_stack_inputs, *given, max_position_embeddings=bound)
            cache_of_source = past_key_values if isinstance(past_key_values, SourceCache) else None
            source = make() if cache_of_source is None else cache_of_source.made_once("source", given, make)
        hidden_states = self.run_layers(inputs, source, past_key_values, **kwargs)
        return BaseModelOutputWithPastAndCrossAttentions(hidden_states, past_key_values)

    def _new_cache(self) -> Cache:
        cache = DynamicCache(config=self.config)
        return EncoderDecoderCache(cache, DynamicCache()) if self.config.is_encoder_decoder else cache

    def _check_cross_attention(self, past_key_values: Cache | None) -> None:
        """Raise `ValueError` if there is no cross-attention, or if the cache cannot hold its keys."""
        if self.cross_position is None:
            raise ValueError(
                "This decoder has no cross-attention for encoder_hidden_states: leave out encoder_hidden_states, or "
                "use an encoder–decoder model."
            )
        if past_key_values is not None and not isinstance(past_key_values, EncoderDecoderCache):
            raise ValueError(
                f"A decoder with cross-attention needs an EncoderDecoderCache, which holds a cache for self-attention "
                f"and a cache for cross-attention, but past_key_values is a {type(past_key_values).__name__}: give an "
                "EncoderDecoderCache, or leave past_key_values out."
            )


def _fit_cross_attention_cache(past_key_values: Cache | None, source_length: int) -> None:
    """If the cross-attention cache is empty, replace layers that cannot hold exactly the keys and values of the source.

    If layers of the decoder have a sliding window, transformers makes sliding cache layers for cross-attention too. A
    static layer that is longer than the source would return keys after the end of the source, which no mask hides.
    """
    if isinstance(past_key_values, EncoderDecoderCache) and not any(past_key_values.is_updated.values()):
        layers = past_key_values.cross_attention_cache.layers
        for idx, layer in enumerate(layers):
            if isinstance(layer, StaticLayer) and (layer.is_sliding or layer.max_cache_len != source_length):
                layers[idx] = StaticLayer(source_length)
            elif getattr(layer, "is_sliding", False):
                layers[idx] = DynamicLayer()
