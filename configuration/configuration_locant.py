# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`LocantConfig`: every choice about a model, its default, its check."""

import copy
from dataclasses import field, fields
from typing import Any, Literal, cast

from huggingface_hub.dataclasses import as_validated_field, strict
from transformers.activations import ACT2CLS
from transformers.configuration_utils import PretrainedConfig

from .position_encodings import (
    PLACES,
    POSITION_ENCODINGS,
    Place,
    check_option_names,
    check_place,
    check_position_encoding,
    check_rope_parameters,
)
from .presets import preset


@as_validated_field
def _positive(value: int | None) -> None:
    if value is not None and value < 1:
        raise ValueError(f"must be at least 1, got {value}.")


@as_validated_field
def _probability(value: float) -> None:
    if not 0.0 <= value < 1.0:
        raise ValueError(f"must be at least 0 and below 1, got {value}.")


@as_validated_field
def _positive_real(value: float) -> None:
    if not value > 0.0:
        raise ValueError(f"must be above 0, got {value}.")


@as_validated_field
def _activation(value: str) -> None:
    if value not in ACT2CLS:
        raise ValueError(f"{value!r} is not an activation; known are {', '.join(sorted(ACT2CLS))}.")


@strict
class LocantConfig(PretrainedConfig):
    """Everything that a Locant model is built from. The defaults are the base model of Vaswani et al. 2017.

    Args:
        vocab_size: number of tokens, one vocabulary for source and target.
        d_model: width of the hidden states; any width is legal.
        encoder_layers, decoder_layers: number of layers of each stack.
        encoder_attention_heads, decoder_attention_heads: query heads of each stack. They must divide `d_model`
            unless `head_dim` is given.
        encoder_key_value_heads, decoder_key_value_heads: key–value heads (Ainslie et al. 2023); a divisor of the
            query heads, by default as many.
        head_dim: size of one head, by default `d_model / heads`.
        encoder_ffn_dim, decoder_ffn_dim: inner width of the feed-forward layers; may be below `d_model`.
        activation_function: any activation of transformers.
        gated_ffn: multiply the activation by a second projection (Shazeer 2020) instead of the plain layer.
        norm_type: `layernorm` (Ba et al. 2016) or `rmsnorm` (Zhang & Sennrich 2019).
        norm_position: `post`, after the residual sum (the paper's), or `pre`, before each sublayer, with one
            more norm at the end of each stack (Xiong et al. 2020).
        norm_eps: added to the variance in every norm.
        attention_bias, ffn_bias: whether the projections of attention and feed-forward have biases.
        dropout: on embeddings and on each sublayer's output.
        attention_dropout: on the attention weights.
        activation_dropout: inside the feed-forward.
        scale_embedding: multiply token embeddings by sqrt(d_model) (Vaswani et al. 2017, section 3.4).
        share_encoder_decoder_embeddings: one embedding table for both stacks.
        tie_word_embeddings: the output layer uses the decoder's embedding table (Press & Wolf 2017).
        position_encoding: how position enters self-attention of both stacks: one of `none`, `sinusoidal`,
            `learned`, `shaw`, `transformer_xl`, `t5`, `alibi`, `rotary`, or a name registered from outside.
        decoder_position_encoding: the decoder's, by default the same.
        cross_position_encoding: the cross-attention's: any of them that is not added to the embeddings.
        position_parameters: options of the encodings, `{encoding: {option: value}}`, such as
            `{"sinusoidal": {"layout": "concatenated"}}`.
        rope_parameters: for `rotary`, as in transformers: `rope_theta`, `rope_type`, `partial_rotary_factor`, …
        max_position_embeddings: length of the `learned` table; original length for the rope types that scale.
        sliding_window: in sliding layers, how many tokens a decoder's token sees, itself and those before it; an
            encoder's token sees this many on either side.
        encoder_layer_types, decoder_layer_types: `full_attention` or `sliding_attention` for each layer; by default
            all slide where there is a window.
        initializer: `xavier` (uniform; embeddings normal with d_model^-0.5) or `normal` (BERT's, with
            `initializer_range` as standard deviation).
        label_smoothing: share of probability spread over the vocabulary in the training loss
            (Szegedy et al. 2016); in evaluation mode the loss is plain.

    Raises:
        StrictDataclassError: a value is of the wrong type or out of range; the message names the field.
    """

    model_type = "locant"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012 (the base class's own declaration)
    attribute_map = {  # noqa: RUF012
        "hidden_size": "d_model",
        "num_attention_heads": "encoder_attention_heads",
        "num_hidden_layers": "encoder_layers",
    }

    vocab_size: int = _positive(default=32000)
    d_model: int = _positive(default=512)
    encoder_layers: int = _positive(default=6)
    decoder_layers: int = _positive(default=6)
    encoder_attention_heads: int = _positive(default=8)
    decoder_attention_heads: int = _positive(default=8)
    encoder_key_value_heads: int | None = _positive(default=None)
    decoder_key_value_heads: int | None = _positive(default=None)
    head_dim: int | None = _positive(default=None)
    encoder_ffn_dim: int = _positive(default=2048)
    decoder_ffn_dim: int = _positive(default=2048)
    activation_function: str = _activation(default="relu")
    gated_ffn: bool = False
    norm_type: Literal["layernorm", "rmsnorm"] = "layernorm"
    norm_position: Literal["post", "pre"] = "post"
    norm_eps: float = _positive_real(default=1e-5)
    attention_bias: bool = True
    ffn_bias: bool = True
    dropout: float | int = _probability(default=0.1)
    attention_dropout: float | int = _probability(default=0.0)
    activation_dropout: float | int = _probability(default=0.0)
    scale_embedding: bool = True
    share_encoder_decoder_embeddings: bool = True
    tie_word_embeddings: bool = True
    position_encoding: str = "sinusoidal"
    decoder_position_encoding: str | None = None
    cross_position_encoding: str = "none"
    position_parameters: dict[str, Any] | None = field(default=None)
    rope_parameters: dict[str, Any] | None = field(default=None)
    max_position_embeddings: int = _positive(default=1024)
    sliding_window: int | None = _positive(default=None)
    encoder_layer_types: list[str] | None = field(default=None)
    decoder_layer_types: list[str] | None = field(default=None)
    initializer: Literal["xavier", "normal"] = "xavier"
    initializer_range: float = _positive_real(default=0.02)
    label_smoothing: float | int = _probability(default=0.0)
    use_cache: bool = True
    is_encoder_decoder: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    decoder_start_token_id: int | None = 1

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> "LocantConfig":
        """A config of the preset `name` (`tiny`, `iwslt`, `base`, `big`) with `overrides` on top."""
        return cls(**{**preset(name), **overrides})

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """A config from its dictionary, with fields among the keywords on top, checked and completed together.

        A `position_encoding` among the keywords is for both stacks, unless there is a `decoder_position_encoding` too.
        """
        if "position_encoding" in kwargs:
            kwargs.setdefault("decoder_position_encoding", None)
        own = {name.name for name in fields(cls)}
        given = {name: kwargs.pop(name) for name in list(kwargs) if name in own}
        return super().from_dict({**config_dict, **given}, **kwargs)

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> "LocantConfig":
        """This config; or, for one stack, a copy whose `num_hidden_layers`, `layer_types` and so on are that stack's.

        Caches are made by the decoder's.
        """
        if decoder == encoder:
            return self
        stacks = copy.copy(self)
        stacks.decoder_position_encoding = self.position_encoding_at("decoder")
        stacks.is_encoder_decoder = True  # a decoder alone has fields of its own too
        config = cast(LocantConfig, super(LocantConfig, stacks).get_text_config(decoder, encoder))
        config.is_encoder_decoder = self.is_encoder_decoder
        return config

    def position_encoding_at(self, place: Place) -> str:
        """The name of the encoding in the self-attention of a stack, or in cross-attention."""
        if place == "cross":
            return self.cross_position_encoding
        own = self.decoder_position_encoding if place == "decoder" else None
        return own or self.position_encoding

    def position_options(self, name: str) -> dict[str, Any]:
        """The options of the encoding `name`: its defaults, with `position_parameters` on top."""
        return {**POSITION_ENCODINGS[name].defaults, **(self.position_parameters or {}).get(name, {})}

    def heads_at(self, place: Place) -> int:
        """The number of query heads; those of cross-attention are the decoder's."""
        return self.encoder_attention_heads if place == "encoder" else self.decoder_attention_heads

    def head_dim_at(self, place: Place) -> int:
        """The size of one attention head."""
        return self.head_dim or self.d_model // self.heads_at(place)

    def layer_types_of(self, stack: Literal["encoder", "decoder"]) -> list[str]:
        """`full_attention` or `sliding_attention`, for each layer of `stack`."""
        default = "full_attention" if self.sliding_window is None else "sliding_attention"
        return getattr(self, f"{stack}_layer_types") or [default] * getattr(self, f"{stack}_layers")

    def validate_attention_heads(self) -> None:
        """Heads divide the width (unless `head_dim` is given), key–value heads divide the heads."""
        for stack in ("encoder", "decoder"):
            heads = getattr(self, f"{stack}_attention_heads")
            if self.head_dim is None and self.d_model % heads:
                raise ValueError(
                    f"{stack}_attention_heads={heads} does not divide d_model={self.d_model}: "
                    f"choose a divisor, or give head_dim."
                )
            shared = getattr(self, f"{stack}_key_value_heads")
            if shared is not None and heads % shared:
                raise ValueError(
                    f"{stack}_key_value_heads={shared} does not divide {stack}_attention_heads={heads}: "
                    f"choose a divisor."
                )

    def validate_layer_types(self) -> None:
        """One known type for each layer, and a window for those that slide."""
        for stack in ("encoder", "decoder"):
            types, layers = getattr(self, f"{stack}_layer_types"), getattr(self, f"{stack}_layers")
            if types is None:
                continue
            if len(types) != layers:
                raise ValueError(f"{stack}_layer_types names {len(types)} layers, but {stack}_layers={layers}.")
            unknown = set(types) - {"full_attention", "sliding_attention"}
            if unknown:
                raise ValueError(
                    f"{stack}_layer_types has {sorted(unknown)[0]!r}: a layer is full_attention or sliding_attention."
                )
            if "sliding_attention" in types and self.sliding_window is None:
                raise ValueError(f"{stack}_layer_types has sliding layers: set sliding_window to the tokens they see.")

    def validate_rope(self) -> None:
        """The checks of transformers' rope types, for the head size of each place that turns."""
        for place in PLACES:
            if self.position_encoding_at(place) == "rotary":
                resolved = copy.copy(self)
                resolved.head_dim = self.head_dim_at(place)
                try:
                    super(LocantConfig, resolved).validate_rope()
                except KeyError as error:
                    raise ValueError(f"rope_parameters: {error.args[0]}.") from error

    def validate_position_encodings(self) -> None:
        """Encodings and their options exist and fit where they stand."""
        for option in ("position_encoding", "decoder_position_encoding", "cross_position_encoding"):
            if getattr(self, option) is not None:
                check_position_encoding(option, getattr(self, option))
        check_option_names(self.position_parameters or {})
        for place in PLACES:
            name, head_dim = self.position_encoding_at(place), self.head_dim_at(place)
            check_place(name, place, self.position_options(name), head_dim)
            if name == "rotary":
                check_rope_parameters(self.rope_parameters or {}, head_dim, place)


__all__ = ["LocantConfig"]
