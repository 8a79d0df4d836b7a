# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`LocantConfig`: the fields of a model's configuration, their defaults and their checks."""

from .supported_transformers import SUPPORTED  # noqa: F401  # first, as it checks the version of transformers

# isort: split
import copy
import difflib
import inspect
import math
from collections.abc import Callable, Collection
from dataclasses import field, fields
from typing import Any, Literal, Self

import torch
from huggingface_hub.dataclasses import as_validated_field, strict
from transformers.activations import ACT2CLS
from transformers.configuration_utils import PretrainedConfig
from transformers.generation import GenerationConfig
from transformers.utils import logging

from .position_encodings import (
    ATTENTION_KINDS,
    POSITION_ENCODINGS,
    AttentionKind,
    check_attention_kind,
    check_option_names,
    check_position_encoding,
    check_rope_parameters,
)

logger = logging.get_logger(__name__)

Stack = Literal["encoder", "decoder"]

# Keys of a config that transformers or `locant.hub` writes or reads, and that are neither fields of
# `LocantConfig` nor generation options
_OTHER_FIELDS = {"auto_map", "custom_pipelines", "locant_code", "quantization_config", "rope_theta"}
_OTHER_FIELDS |= {"attn_implementation", "experts_implementation", "partial_rotary_factor", "rope_scaling"}
_OTHER_FIELDS |= {"tokenizer_class", "processor_class", "task_specific_params", "prefix", "onnx"}

# Upper limits of the number of labels, and of the height and width of images and patches. They are checked before the
# memory for labels or patches is allocated
_MOST_LABELS = 2**20
_LONGEST_SIDE = 2**20


def _whole(least: int, most: int) -> Any:
    """Return a function that makes config fields, which refuse numbers below `least` and above `most`."""

    @as_validated_field
    def check(value: int | None) -> None:
        if value is not None and value < least:
            raise ValueError(f"must be at least {least}, got {_shown(value)}.")
        if value is not None and value > most:
            raise ValueError(f"must be at most {most}, got {_shown(value)}.")

    return check


_layers = _whole(1, 2048)
_heads = _whole(1, 2**14)
_width = _whole(1, 2**22)
_number = _whole(1, 2**32)


@as_validated_field
def _probability(value: float | None) -> None:
    if value is not None and not 0.0 <= value < 1.0:
        raise ValueError(f"must be at least 0 and below 1, got {value}.")


@as_validated_field
def _positive_real(value: float) -> None:
    if not value > 0.0:
        raise ValueError(f"must be above 0, got {value}.")
    if value == math.inf:
        raise ValueError("must be finite.")


@as_validated_field
def _activation(value: str) -> None:
    if value not in ACT2CLS:
        raise ValueError(f"{value!r} is not an activation: choose one of {', '.join(sorted(ACT2CLS))}.")


@as_validated_field
def _height_and_width(value: int | list[int] | tuple[int, ...]) -> None:
    sides = (value,) * 2 if isinstance(value, int) else value
    if len(sides) != 2 or any(not 1 <= side <= _LONGEST_SIDE for side in sides):
        raise ValueError(
            f"must be a whole number from 1 to {_LONGEST_SIDE}, or two such numbers (height, width), "
            f"got {_shown(value)}."
        )


def _shape(layers: int, width: int, heads: int, ffn: int, dropout: float) -> dict[str, Any]:
    return {
        "d_model": width,
        "encoder_layers": layers,
        "decoder_layers": layers,
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": ffn,
        "decoder_ffn_dim": ffn,
        "dropout": dropout,
    }


PRESETS: dict[str, dict[str, Any]] = {
    # `tiny` is for tests and first steps: it trains in minutes on a laptop
    "tiny": _shape(2, 128, 4, 512, 0.1),
    # `iwslt` is the usual model size (fairseq, Ott et al. 2019) for IWSLT, a data set of about 160,000 sentence pairs
    "iwslt": _shape(6, 512, 4, 1024, 0.3),
    # `base` and `big` are the models of Vaswani et al. 2017, table 3
    "base": _shape(6, 512, 8, 2048, 0.1),
    "big": _shape(6, 1024, 16, 4096, 0.3),
}


STACK_FIELDS = {
    "num_hidden_layers": "layers",
    "num_attention_heads": "attention_heads",
    "num_key_value_heads": "key_value_heads",
    "intermediate_size": "ffn_dim",
    "layer_types": "layer_types",
}
"""Maps transformers' name of a field to Locant's name of this field without its prefix, `encoder_` or `decoder_`."""


def _stack_field(name: str, read: Callable[["LocantConfig", Stack], Any] | None = None) -> Any:
    """Make the property by which other libraries read and set a field of the stacks under transformers' name.

    Reading the property returns the field of `main_stack`. Setting the property sets the field of every stack of the
    model, or raises `ValueError` if the stacks have different values.

    Args:
        name: transformers' name of the field, a key of `STACK_FIELDS`.
        read: computes the value that the property returns from the config and `main_stack`; by default, the property
            returns the value of the field.
    """

    def getter(config: "LocantConfig") -> Any:
        stack = config.main_stack
        return read(config, stack) if read is not None else getattr(config, f"{stack}_{STACK_FIELDS[name]}")

    def setter(config: "LocantConfig", value: Any) -> None:
        names = [f"{stack}_{STACK_FIELDS[name]}" for stack in config._stacks]
        if len({repr(getattr(config, own)) for own in names}) > 1:
            raise ValueError(
                f"{name} sets both {' and '.join(names)}, but their values differ: set each field by its own name."
            )
        for own in names:
            setattr(config, own, value)

    return property(getter, setter)


@strict
class LocantConfig(PretrainedConfig):
    """The configuration of a Locant model. By default, its layers are those of the base model of Vaswani et al. 2017.

    A model has an encoder and a decoder (`is_encoder_decoder`), a decoder alone (`is_decoder`), or an encoder alone
    (neither). If these two flags do not fit a model class, the class uses a copy of the config with other flags
    (`with_stacks`).

    Other libraries read the names `hidden_size`, `num_hidden_layers`, `num_attention_heads`, `num_key_value_heads`,
    `intermediate_size` and `layer_types`. For a decoder alone, these names have the values of the decoder; for other
    models, they have the values of the encoder. For an encoder–decoder, `get_text_config(decoder=True)` returns a
    config in which they have the values of the decoder.

    Setting `hidden_size` sets `d_model`. Setting another of these names sets the field of every stack of the model, and
    raises `ValueError` if the stacks have different values. Reading one of these names, or `head_dim`, gives the value
    that the model is built with, even if the field is None.

    Args:
        vocab_size: number of tokens in the vocabulary, which source and target share.
        d_model: width of the hidden states; may be odd.
        encoder_layers, decoder_layers: number of layers of each stack.
        encoder_attention_heads, decoder_attention_heads: number of query heads of each stack. The number must divide
            `d_model` unless `head_dim` is given.
        encoder_key_value_heads, decoder_key_value_heads: number of key–value heads of each stack (Ainslie et al. 2023).
            The number must divide the number of query heads; by default, it equals the number of query heads.
        head_dim: size of one head, by default `d_model / heads`.
        encoder_ffn_dim, decoder_ffn_dim: inner width of the feed-forward layers; may be below `d_model`.
        activation_function: any activation of transformers.
        gated_ffn: use a gated feed-forward layer, which multiplies the activation by a second projection
            (Shazeer 2020).
        norm_type: `layernorm` (Ba et al. 2016) or `rmsnorm` (Zhang & Sennrich 2019).
        norm_position: where the norm of each sublayer is: `post`, after the residual sum (Vaswani et al. 2017), or
            `pre`, before the sublayer, with one more norm at the end of each stack (Xiong et al. 2020).
        norm_eps: number that every norm adds to the variance, or with `rmsnorm` to the mean square.
        attention_bias, ffn_bias: whether the projections of attention and feed-forward have biases.
        dropout: dropout probability for the embeddings and for the output of each sublayer.
        attention_dropout: dropout probability for the attention weights.
        activation_dropout: dropout probability for the activations inside the feed-forward layers.
        scale_embedding: multiply token embeddings by sqrt(d_model) (Vaswani et al. 2017, section 3.4).
        embedding_norm: apply a norm to the embeddings after position is added (Devlin et al. 2019, BERT).
        type_vocab_size: number of token types that the encoder has embeddings for (BERT's segments); 0 for none.
        encoder_input: the input of the encoder, `tokens` or the `patches` of an image (Dosovitskiy et al. 2021, ViT).
        image_size: height and width of the training images in pixels, or one number for both. The model also takes
            images of other sizes: the positions of their patches are scaled to the grid of an image of this size.
        patch_size: height and width of a patch in pixels, or one number for both.
        num_channels: number of channels of an image.
        pooling: how the hidden states of an encoder become one vector: `mean` over the tokens, or the `first` token,
            which for images is a class token before the patches.
        pooler_projection: apply a linear layer and tanh to the vector that `pooling` computes (BERT).
        classifier_dropout: dropout probability for the input of classification heads; by default the value of
            `dropout`.
        lm_head_bias: whether the output layer over the vocabulary has a bias.
        share_encoder_decoder_embeddings: use one table of token embeddings for both stacks.
        tie_word_embeddings: the output layer uses a table of token embeddings as its weight (Press & Wolf 2017): the
            table of the decoder, or of the encoder in a masked language model.
        position_encoding: how position enters self-attention of both stacks: one of `none`, `sinusoidal`,
            `learned`, `shaw`, `transformer_xl`, `t5`, `alibi`, `rotary`, or a name that is registered with
            `register_position_encoding`.
        decoder_position_encoding: the encoding in self-attention of the decoder; by default `position_encoding`.
        cross_position_encoding: the encoding in cross-attention, where encodings that are added to the embeddings
            (`sinusoidal`, `learned`) are not possible.
        position_parameters: options of the encodings, `{encoding: {option: value}}`, such as
            `{"sinusoidal": {"layout": "concatenated"}}`.
        rope_parameters: the parameters of `rotary`, as in transformers, such as `rope_theta`, `rope_type` and
            `partial_rotary_factor`.
        max_position_embeddings: number of positions of the `learned` table; initial number of positions of the
            `sinusoidal` table, which starts with at most 16 MiB and grows; for `rotary`, the length of the training
            sequences, on which the rope types `dynamic`, `llama3`, `yarn` and `longrope` depend by default.
        sliding_window: size of the attention window in layers of type `sliding_attention`. In a decoder, the size must
            be at least 2, and a token sees this many tokens: itself and the tokens before it. In an encoder, a token
            sees itself and this many tokens on either side.
        encoder_layer_types, decoder_layer_types: `full_attention` or `sliding_attention` for each layer; by default,
            `sliding_attention` for all layers if `sliding_window` is given, else `full_attention`.
        initializer: `xavier` (weights of linear layers uniform, embeddings normal with standard deviation
            d_model^-0.5) or `normal` (both normal with standard deviation `initializer_range`, as in BERT).
        label_smoothing: share of the target probability that the training loss spreads evenly over the vocabulary
            (Szegedy et al. 2016); in evaluation mode, the loss is computed without label smoothing.
        source_lang, target_lang: languages of a translator, such as `en` and `fr`. If both are given, the pipeline of
            the saved model has the task name `translation_en_to_fr` in addition to its other names.
        use_cache: whether a decoder makes a cache by default.
        is_encoder_decoder, is_decoder: which stacks the model has: the decoder alone if `is_decoder` is True, else both
            stacks if `is_encoder_decoder` is True, else the encoder alone.
        pad_token_id, bos_token_id, eos_token_id: ids of the special tokens; None if there is no such token.
            `eos_token_id` may also be a list of ids.
        decoder_start_token_id: id of the first token that the decoder of an encoder–decoder reads.

    Raises:
        StrictDataclassError: a value is of the wrong type, out of range, or not possible with another value; the
            message names the field.
        ValueError: `id2label`, `num_labels` or `dtype` is not valid, or a keyword argument that is not a field has a
            name that is not allowed.
    """

    model_type = "locant"
    keys_to_ignore_at_inference = ["past_key_values", "cache"]  # noqa: RUF012 (declared in the base class)
    attribute_map = {"hidden_size": "d_model"}  # noqa: RUF012
    base_model_fsdp_plan = {}  # noqa: RUF012 (the default names Llama's modules; the plan is in `LocantStack`)

    vocab_size: int = _number(default=32000)
    d_model: int = _width(default=512)
    encoder_layers: int = _layers(default=6)
    decoder_layers: int = _layers(default=6)
    encoder_attention_heads: int = _heads(default=8)
    decoder_attention_heads: int = _heads(default=8)
    encoder_key_value_heads: int | None = _heads(default=None)
    decoder_key_value_heads: int | None = _heads(default=None)
    head_dim: int | None = _width(default=None)
    encoder_ffn_dim: int = _width(default=2048)
    decoder_ffn_dim: int = _width(default=2048)
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
    embedding_norm: bool = False
    type_vocab_size: int = _whole(0, 2**32)(default=0)
    encoder_input: Literal["tokens", "patches"] = "tokens"
    image_size: int | list[int] | tuple[int, int] = _height_and_width(default=224)
    patch_size: int | list[int] | tuple[int, int] = _height_and_width(default=16)
    num_channels: int = _width(default=3)
    pooling: Literal["mean", "first"] = "mean"
    pooler_projection: bool = False
    classifier_dropout: float | int | None = _probability(default=None)
    lm_head_bias: bool = False
    share_encoder_decoder_embeddings: bool = True
    tie_word_embeddings: bool = True
    position_encoding: str = "sinusoidal"
    decoder_position_encoding: str | None = None
    cross_position_encoding: str = "none"
    position_parameters: dict[str, Any] | None = field(default=None)
    rope_parameters: dict[str, Any] | None = field(default=None)
    max_position_embeddings: int = _number(default=1024)
    sliding_window: int | None = _number(default=None)
    encoder_layer_types: list[str] | None = field(default=None)
    decoder_layer_types: list[str] | None = field(default=None)
    initializer: Literal["xavier", "normal"] = "xavier"
    initializer_range: float = _positive_real(default=0.02)
    label_smoothing: float | int = _probability(default=0.0)
    source_lang: str | None = None
    target_lang: str | None = None
    use_cache: bool = True
    is_encoder_decoder: bool = True
    is_decoder: bool = False
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    decoder_start_token_id: int | None = 1

    def __post_init__(self, **kwargs: Any) -> None:
        if self.is_decoder:
            self.is_encoder_decoder = False
        self.image_size, self.patch_size = _as_json(self.image_size), _as_json(self.patch_size)
        self.rope_parameters = copy.deepcopy(self.rope_parameters)  # transformers adds defaults to the dictionary
        _check_labels(self.id2label)
        _check_dtype(self.dtype)
        for name in kwargs:
            _check_extra_name(type(self), name)
        _warn_of_unknown(type(self), kwargs)
        super().__post_init__(**kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "num_labels":  # check before transformers makes two dictionaries with this many entries
            _check_number_of_labels(value)
        if name in self.attribute_map:
            setattr(self, self.attribute_map[name], value)  # super() would skip the checks of the field
        else:
            super().__setattr__(name, value)

    num_hidden_layers = _stack_field("num_hidden_layers")
    num_attention_heads = _stack_field("num_attention_heads")
    num_key_value_heads = _stack_field("num_key_value_heads", lambda config, stack: config.key_value_heads_at(stack))
    intermediate_size = _stack_field("intermediate_size")
    layer_types = _stack_field("layer_types", lambda config, stack: config.layer_types_of(stack))

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> "LocantConfig":
        """Make the config of a preset.

        Args:
            name: the name of the preset: `tiny`, `iwslt`, `base` or `big`.
            overrides: fields of the config, which take precedence over the fields of the preset.

        Raises:
            ValueError: there is no preset `name`.
            StrictDataclassError, ValueError: as in `LocantConfig`, if a value in `overrides` is not valid.
        """
        if name not in PRESETS:
            nearest = difflib.get_close_matches(name, PRESETS, n=1)
            hint = f": did you mean {nearest[0]!r}?" if nearest else "."
            raise ValueError(f"{name!r} is not a preset; the presets are {', '.join(PRESETS)}{hint}")
        return cls(**{**PRESETS[name], **overrides})

    @classmethod
    def get_config_dict(cls, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read a config as in transformers; raise `ValueError` if it is not a JSON object or is nested too deeply."""
        cause: Exception | None = None
        try:
            values, others = super().get_config_dict(*args, **kwargs)
        except (TypeError, RecursionError) as error:
            values, cause = None, error
        if not isinstance(values, dict):
            name = _shown(args[0] if args else kwargs.get("pretrained_model_name_or_path"))
            raise ValueError(
                f"The config of {name} is not a JSON object of fields, or is nested too deeply: check its config.json."
            ) from cause
        return values, others

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Make a config from the fields in `config_dict`; fields among the keyword arguments take precedence.

        The fields of `config_dict` and of the keyword arguments are merged before they are checked. The keyword
        argument `position_encoding` sets the encoding of both stacks, unless `decoder_position_encoding` is a keyword
        argument as well.
        """
        if "position_encoding" in kwargs:
            kwargs.setdefault("decoder_position_encoding", None)
        own = {entry.name for entry in fields(cls)} - {"dtype"}  # dtype may be "auto", which the base class handles
        given = {name: kwargs.pop(name) for name in list(kwargs) if name in own}
        return super().from_dict({**config_dict, **given}, **kwargs)

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> "LocantConfig":
        """Return a copy of the config whose `main_stack` is the decoder if `decoder` is true, else the encoder.

        If the model has one stack only, or if `decoder` and `encoder` are equal, the method returns the config itself.
        transformers makes caches from `get_text_config(decoder=True)`.
        """
        if decoder == encoder or not self.is_encoder_decoder:
            return self
        config = copy.copy(self)
        config.is_decoder = bool(decoder)
        return config

    def with_stacks(self, *, encoder: bool = True, decoder: bool = True, **others: Any) -> Self:
        """Return a config with the requested stacks and with the field values in `others`.

        The result is this config if it already has them, else a changed copy.
        """
        others |= {"is_encoder_decoder": encoder and decoder, "is_decoder": not encoder}
        if all(getattr(self, name) == value for name, value in others.items()):
            return self
        config = copy.copy(self)
        for name, value in others.items():
            setattr(config, name, value)
        return config

    @property
    def attention_kinds(self) -> tuple[AttentionKind, ...]:
        """The kinds of attention in a model of this config."""
        if self.is_encoder_decoder:
            return ATTENTION_KINDS
        return ("decoder",) if self.is_decoder else ("encoder",)

    @property
    def shares_embeddings(self) -> bool:
        """Whether encoder and decoder share one table of token embeddings."""
        return self.is_encoder_decoder and self.share_encoder_decoder_embeddings and self.encoder_input == "tokens"

    @property
    def has_class_token(self) -> bool:
        """Whether a class token stands before the patches."""
        return self.encoder_input == "patches" and self.pooling == "first"

    @property
    def patch_shape(self) -> tuple[int, int]:
        """Height and width of a patch, in pixels."""
        return _pair(self.patch_size)

    @property
    def patch_grid(self) -> tuple[int, int]:
        """The numbers of rows and of columns of patches in an image of `image_size`."""
        (height, width), (patch_height, patch_width) = _pair(self.image_size), self.patch_shape
        return height // patch_height, width // patch_width

    def axes_at(self, kind: AttentionKind) -> int:
        """The number of coordinates of a position: 2 for patches, which have a row and a column, else 1."""
        return 2 if kind == "encoder" and self.encoder_input == "patches" else 1

    def position_encoding_at(self, kind: AttentionKind) -> str:
        """The name of the position encoding in this kind of attention."""
        if kind == "cross":
            return self.cross_position_encoding
        own = self.decoder_position_encoding if kind == "decoder" else None
        return own or self.position_encoding

    def position_options(self, name: str) -> dict[str, Any]:
        """The options of the encoding `name`: the values in `position_parameters`, else the defaults."""
        return {**POSITION_ENCODINGS[name].defaults, **(self.position_parameters or {}).get(name, {})}

    def heads_at(self, kind: AttentionKind) -> int:
        """The number of query heads; cross-attention has as many as self-attention of the decoder."""
        return self.encoder_attention_heads if kind == "encoder" else self.decoder_attention_heads

    def head_dim_at(self, kind: AttentionKind) -> int:
        """The size of one attention head."""
        # `vars` reads the stored field; the property `head_dim`, which is set below the class, would call this method
        return vars(self)["head_dim"] or self.d_model // self.heads_at(kind)

    def key_value_heads_at(self, kind: AttentionKind) -> int:
        """The number of key–value heads; cross-attention has as many as self-attention of the decoder."""
        shared = self.encoder_key_value_heads if kind == "encoder" else self.decoder_key_value_heads
        return shared or self.heads_at(kind)

    def window_of(self, layer_type: str) -> int | None:
        """The attention window of layers of this type: `sliding_window`, or None for full attention."""
        return self.sliding_window if layer_type == "sliding_attention" else None

    def layer_types_of(self, stack: Stack) -> list[str]:
        """Return the type of each layer of `stack`: `full_attention` or `sliding_attention`."""
        default = "full_attention" if self.sliding_window is None else "sliding_attention"
        return getattr(self, f"{stack}_layer_types") or [default] * getattr(self, f"{stack}_layers")

    @property
    def main_stack(self) -> Stack:
        """The stack whose values other libraries read as `head_dim` and under the names in `STACK_FIELDS`."""
        return "decoder" if self.is_decoder else "encoder"

    @property
    def _stacks(self) -> list[Stack]:
        return [kind for kind in self.attention_kinds if kind != "cross"]

    def validate_token_ids(self) -> None:
        """Raise `ValueError` if a special token's id is negative, or if the decoder reads an id outside the vocabulary.

        The decoder of an encoder–decoder reads `pad_token_id` and `decoder_start_token_id`. For another single id that
        is not in the vocabulary, transformers logs a warning; ids in a list get no warning.
        """
        fed = ("pad_token_id", "decoder_start_token_id") if self.is_encoder_decoder else ()
        for name in ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"):
            ids = getattr(self, name)
            for value in ids if isinstance(ids, list) else [ids]:
                if value is not None and (value < 0 or (name in fed and value >= self.vocab_size)):
                    raise ValueError(
                        f"{name}={_shown(value)} is not in the vocabulary, whose ids are 0 to {self.vocab_size - 1}: "
                        f"give the id of a token, or null if there is no such token."
                    )
        super().validate_token_ids()

    def validate_patches(self) -> None:
        """Check that `patch_size` divides `image_size` if the model has an encoder that reads patches."""
        if self.encoder_input == "patches" and not self.is_decoder:
            for side, length, patch in zip(("height", "width"), _pair(self.image_size), self.patch_shape, strict=True):
                if length % patch:
                    raise ValueError(
                        f"patch_size {patch} does not divide the {side} {length} of image_size: choose a divisor."
                    )

    def validate_attention_heads(self) -> None:
        """Check the numbers of heads of each stack.

        If `head_dim` is None, the number of query heads must divide `d_model`. The number of key–value heads must
        divide the number of query heads.
        """
        for stack in self._stacks:
            heads = getattr(self, f"{stack}_attention_heads")
            if vars(self)["head_dim"] is None and self.d_model % heads:
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

    def validate_layer_type(self) -> None:
        """Check that each layer has a known type, and that `sliding_window` fits the types.

        `sliding_window` must be set if a type is `sliding_attention`, and be at least 2 if a decoder has layers of this
        type.
        """
        # transformers' cache of a sliding layer keeps the last `sliding_window - 1` keys; if `sliding_window` is 1, the
        # cache keeps all keys
        slides = "decoder" in self._stacks and "sliding_attention" in self.layer_types_of("decoder")
        if self.sliding_window == 1 and slides:
            raise ValueError("sliding_window is 1, but the window of a decoder has at least 2 tokens: enlarge it.")
        for stack in self._stacks:
            types, layers = getattr(self, f"{stack}_layer_types"), getattr(self, f"{stack}_layers")
            if types is None:
                continue
            if len(types) != layers:
                raise ValueError(
                    f"{stack}_layer_types has {len(types)} types, but {stack}_layers={layers}: give one for each layer."
                )
            unknown = set(types) - {"full_attention", "sliding_attention"}
            if unknown:
                raise ValueError(
                    f"{stack}_layer_types has {sorted(unknown)[0]!r}: a type is full_attention or sliding_attention."
                )
            if "sliding_attention" in types and self.sliding_window is None:
                raise ValueError(
                    f"{stack}_layer_types has sliding_attention layers, but sliding_window is None: set sliding_window "
                    f"to the size of the attention window."
                )

    def validate_rope(self) -> None:
        """Run transformers' rope checks for each kind of attention that has rotary encoding.

        The checks read `head_dim` from a copy of the config, in which it is the head size divided by the number of
        coordinates of a position: by 2 for patches, which have a row and a column, else by 1.
        """
        for kind in self.attention_kinds:
            if self.position_encoding_at(kind) == "rotary":
                resolved = copy.copy(self)
                resolved.head_dim = self.head_dim_at(kind) // self.axes_at(kind)
                try:
                    super(LocantConfig, resolved).validate_rope()
                except KeyError as error:
                    raise ValueError(f"rope_parameters: {error.args[0]}.") from error

    def validate_position_encodings(self) -> None:
        """Check that the encodings and their options exist, and that each kind of attention can have its encoding."""
        for option in ("position_encoding", "decoder_position_encoding", "cross_position_encoding"):
            if getattr(self, option) is not None:
                check_position_encoding(option, getattr(self, option))
        check_option_names(self.position_parameters or {})
        for kind in self.attention_kinds:
            name, head_dim = self.position_encoding_at(kind), self.head_dim_at(kind)
            check_attention_kind(name, kind, self.position_options(name), head_dim)
            if name == "rotary":
                check_rope_parameters(self.rope_parameters or {}, head_dim, kind, self.axes_at(kind))
            if name == "sinusoidal" and self.d_model % self.axes_at(kind):
                raise ValueError(
                    f"d_model={self.d_model} is odd, but sinusoidal encoding uses half of it for the row of a patch "
                    f"and half for its column: choose an even d_model."
                )


def _read_head_dim(config: LocantConfig) -> int:
    return config.head_dim_at(config.main_stack)


def _set_head_dim(config: LocantConfig, value: int | None) -> None:
    vars(config)["head_dim"] = value


# The property returns the head size that the model is built with. The stored field, `vars(config)["head_dim"]`, stays
# None by default, so that the size follows later changes of d_model and of the number of heads.
LocantConfig.head_dim = property(_read_head_dim, _set_head_dim)  # type: ignore[assignment]


def _as_json(value: int | list[int] | tuple[int, ...]) -> int | list[int]:
    """Return `value`, with a tuple converted to a list, because JSON has no tuples."""
    return value if isinstance(value, int) else list(value)


def _shown(value: Any) -> str:
    """Return the text that a message shows for a value: its `repr`, cut to at most 80 characters.

    An integer of more than 24 digits is not printed, because Python refuses to print integers of thousands of digits.
    """
    if isinstance(value, int) and abs(value) >= 10**24:
        return "an integer of more than 24 digits"
    return repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:77]}…"


def _check_number_of_labels(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_LABELS:
        raise ValueError(f"num_labels must be a whole number from 0 to {_MOST_LABELS}, got {_shown(value)}.")


def _check_labels(id2label: Any) -> None:
    """Raise `ValueError` unless `id2label` is None or a dictionary from at most `_MOST_LABELS` class numbers to names.

    A class number may be a string, because JSON has only strings as keys. A name may be an integer.
    """
    if id2label is None:
        return
    pairs = id2label.items() if isinstance(id2label, dict) else [(id2label, None)]
    for number, name in pairs:
        if not str(number).isdecimal() or not isinstance(name, str | int):
            raise ValueError(
                f"id2label must be a dictionary of class numbers and their names, got {_shown(number)}: {_shown(name)}."
            )
    _check_number_of_labels(len(id2label))


def _check_dtype(dtype: Any) -> None:
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if dtype is not None and not isinstance(found, torch.dtype):
        raise ValueError(f"dtype must be a torch dtype, such as float32 or bfloat16, got {_shown(dtype)}.")


def _check_extra_name(config: type, name: str) -> None:
    """Raise `ValueError` if `name`, a keyword argument that is not a field, cannot become an attribute of the config.

    The name must not be reserved, and must not be the name of a method or of a read-only property.
    """
    own = inspect.getattr_static(config, name, None)
    is_read_only = isinstance(own, property) and own.fset is None
    if name.startswith("__") or name == "per_layer_config" or callable(own) or is_read_only:
        raise ValueError(f"{name[:80]!r} is not a field of a Locant config: leave it out.")


def _warn_of_unknown(config: type, given: Collection[str]) -> None:
    """Log a warning for each keyword argument of the config that no model reads.

    `given` has the names of the keyword arguments that are no fields of `LocantConfig`. There is no warning for a name
    that transformers' configs or generation configs have, nor for a name that begins with an underscore. If
    `ctranslate2` is in `given`, there is no warning at all.
    """
    if "ctranslate2" in given:
        return  # the config of a model that was exported to CTranslate2 also has the fields of CTranslate2's config
    unknown = [name for name in given if not (name.startswith("_") or name in _OTHER_FIELDS or hasattr(config, name))]
    of_generation = GenerationConfig().to_dict() if unknown else {}
    for name in unknown:
        if name in of_generation:
            continue
        nearest = difflib.get_close_matches(name, [*inspect.get_annotations(config), *STACK_FIELDS], n=1)
        hint = f": did you mean {nearest[0]}?" if nearest else "."
        logger.warning(f"LocantConfig has no field {name[:80]!r}, and no model reads it{hint}")


def _pair(value: int | list[int] | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
