# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Checks that CTranslate2 supports a text-to-text model, and writes the weights of the model to a `TransformerSpec`."""

from typing import Any, Literal

import torch
from torch import nn

from locant.configuration import LocantConfig
from locant.configuration.position_encodings import AttentionKind
from locant.modeling import LocantForConditionalGeneration
from locant.modeling.positions.base import build_position_encoding

from ..errors import SharingError
from .ctranslate2_model import start_token_id
from .ctranslate2_positions import express, keep_exact, write
from .requirements import needs

_ACTIVATIONS = {
    "relu": "RELU",
    "gelu": "GELU",
    "gelu_python": "GELU",
    "gelu_new": "GELUTanh",
    "gelu_fast": "GELUTanh",
    "gelu_pytorch_tanh": "GELUTanh",
    "quick_gelu": "GELUSigmoid",
    "silu": "SWISH",
    "swish": "SWISH",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
}

QUANTIZATIONS = ("float32", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16")
"""The names of the types in which CTranslate2 can store weights."""


def check_config(config: LocantConfig) -> dict[AttentionKind, int | None]:
    """Check that CTranslate2 supports `config`.

    Returns:
        A dict from `encoder` and `decoder` to the largest number of positions of the stack, or to None without a limit.

    Raises:
        SharingError: CTranslate2 does not support `config`.
    """
    if not config.is_encoder_decoder:
        raise SharingError(
            "is_encoder_decoder is false: only encoder–decoders are exported to CTranslate2, and only encoders to ONNX."
        )
    if config.architectures == ["LocantModel"]:
        raise SharingError(
            "The model is a LocantModel, which has no language modelling head: export a LocantForConditionalGeneration."
        )
    if config.encoder_input != "tokens":
        raise SharingError(
            f"encoder_input={config.encoder_input!r}: CTranslate2 reads text only, so encoder_input must be tokens."
        )
    if config.cross_position_encoding != "none":
        raise SharingError(
            f"cross_position_encoding={config.cross_position_encoding!r}: CTranslate2 has no position encodings in "
            "cross-attention, so cross_position_encoding must be none."
        )
    if config.activation_function not in _ACTIVATIONS:
        raise SharingError(
            f"activation_function={config.activation_function!r} is not supported by CTranslate2, which supports "
            f"{', '.join(_ACTIVATIONS)}."
        )
    for field in ("decoder_start_token_id", "eos_token_id"):
        if getattr(config, field) is None:
            raise SharingError(
                f"{field} is not set, but CTranslate2 must know the first and the last token of generated texts: set "
                f"{field} in config.json."
            )
    limits: dict[AttentionKind, int | None] = {}
    stacks: tuple[Literal["encoder"], Literal["decoder"]] = ("encoder", "decoder")
    for place in stacks:
        if "sliding_attention" in config.layer_types_of(place):
            raise SharingError(
                f"{place}_layer_types has sliding layers, which CTranslate2's encoder–decoders do not support: "
                "all layers must be full_attention."
            )
        with torch.device("meta"):
            limits[place] = express(build_position_encoding(config, place)).limit
    return limits


@torch.no_grad()
def build_spec(model: LocantForConditionalGeneration, tokens: list[str], unk_token: str, quantization: str) -> Any:
    """Build the `TransformerSpec` of `model`, ready to be saved; `model` must not be used afterwards.

    Args:
        model: a model in float32 whose config `check_config` accepts.
        tokens: the vocabulary: the token of each token id, in the order of the ids.
        unk_token: the token of the vocabulary that stands for unknown tokens.
        quantization: one of `QUANTIZATIONS`.
    """
    specs = needs("ctranslate2.specs.transformer_spec")
    config, encoder, decoder = model.config, model.model.encoder, model.model.decoder
    spec = specs.TransformerSpec(
        specs.TransformerEncoderSpec(config.encoder_layers, config.encoder_attention_heads, **_options(encoder)),
        specs.TransformerDecoderSpec(config.decoder_layers, config.decoder_attention_heads, **_options(decoder)),
    )
    _write_stack(spec.encoder, encoder, spec.encoder.embeddings[0])
    _write_stack(spec.decoder, decoder, spec.decoder.embeddings)
    # without token_type_ids, Locant adds the vector of type 0 to the scaled token embeddings; CTranslate2 has no token
    # types, so this vector becomes a part of its token embeddings
    if encoder.embed_token_types is not None:
        embeddings = spec.encoder.embeddings[0]
        embeddings.weight = embeddings.weight + encoder.embed_token_types.weight[0] / encoder.embed_scale
    _write_linear(spec.decoder.projection, model.lm_head)

    spec.config.layer_norm_epsilon = config.norm_eps
    spec.config.unk_token = unk_token
    start, ends = start_token_id(config, model.generation_config), config.eos_token_id
    assert start is not None and ends is not None  # check_config refuses None
    spec.config.eos_token = tokens[ends[0] if isinstance(ends, list) else ends]
    spec.config.decoder_start_token = spec.config.bos_token = tokens[start]
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)

    spec.validate()
    spec.optimize(quantization=quantization)
    keep_exact(encoder.position, spec.encoder)
    keep_exact(decoder.position, spec.decoder)
    return spec


def _options(stack: Any) -> dict[str, Any]:
    config, activations = stack.config, needs("ctranslate2.specs.common_spec").Activation
    return {
        "pre_norm": config.norm_position == "pre",
        "activation": activations[_ACTIVATIONS[config.activation_function]],
        "layernorm_embedding": config.embedding_norm,
        "ffn_glu": config.gated_ffn,
        "rms_norm": config.norm_type == "rmsnorm",
        "num_heads_kv": getattr(config, f"{stack.stack}_key_value_heads"),
        "head_dim": config.head_dim_at(stack.stack),
        **express(stack.position).options,
    }


def _write_stack(spec: Any, stack: Any, embeddings: Any) -> None:
    embeddings.weight = stack.embed_tokens.weight
    spec.scale_embeddings = stack.config.scale_embedding
    if stack.config.embedding_norm:
        _write_norm(spec.layernorm_embedding, stack.embed_norm)
    if stack.config.norm_position == "pre":
        _write_norm(spec.layer_norm, stack.final_norm)
    for layer_spec, layer in zip(spec.layer, stack.layers, strict=True):
        _write_layer(layer_spec, layer)
    write(stack.position, spec, stack)


def _write_layer(spec: Any, layer: Any) -> None:
    attention = layer.self_attn
    _write_fused(spec.self_attention.linear[0], attention.q_proj, attention.k_proj, attention.v_proj)
    _write_linear(spec.self_attention.linear[1], attention.o_proj)
    _write_norm(spec.self_attention.layer_norm, layer.self_attn_residual.norm)
    if layer.cross_attn is not None:
        attention = layer.cross_attn
        _write_linear(spec.attention.linear[0], attention.q_proj)
        _write_fused(spec.attention.linear[1], attention.k_proj, attention.v_proj)
        _write_linear(spec.attention.linear[2], attention.o_proj)
        _write_norm(spec.attention.layer_norm, layer.cross_attn_residual.norm)
    if hasattr(spec.ffn, "linear_0_noact"):
        _write_linear(spec.ffn.linear_0, layer.ffn.gate_proj)
        _write_linear(spec.ffn.linear_0_noact, layer.ffn.up_proj)
    else:
        _write_linear(spec.ffn.linear_0, layer.ffn.up_proj)
    _write_linear(spec.ffn.linear_1, layer.ffn.down_proj)
    _write_norm(spec.ffn.layer_norm, layer.ffn_residual.norm)


def _write_linear(spec: Any, layer: nn.Linear) -> None:
    spec.weight = layer.weight
    if layer.bias is not None:
        spec.bias = layer.bias


def _write_fused(spec: Any, *layers: nn.Linear) -> None:
    spec.weight = torch.cat([layer.weight for layer in layers])
    if layers[0].bias is not None:
        spec.bias = torch.cat([layer.bias for layer in layers])


def _write_norm(spec: Any, norm: Any) -> None:
    spec.gamma = norm.weight
    if hasattr(spec, "beta"):
        spec.beta = norm.bias
