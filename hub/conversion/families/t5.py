# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""T5 (Raffel et al. 2020): version 1.0 ties the output layer to the embeddings; version 1.1 (Flan-T5) does not.

T5 does not divide attention scores by √head_dim, so the query projections of the Locant model are those of T5 times
√head_dim. Version 1.0 divides the input of the output layer by √d_model, so the final norm of the decoder in the Locant
model is that of T5 divided by √d_model.
"""

from collections.abc import Collection
from typing import Any, ClassVar

from transformers import PreTrainedConfig

from locant.configuration.configuration_locant import LocantConfig

from .family import Entry, Family, Transform, linear, scale, under


class T5(Family):
    """Converts `T5Model`, `T5ForConditionalGeneration` and `T5EncoderModel` to Locant's models and back."""

    name = "T5"
    model_type = "t5"
    architectures: ClassVar = {
        "T5ForConditionalGeneration": "LocantForConditionalGeneration",
        "T5Model": "LocantModel",
        "T5EncoderModel": "LocantEncoderModel",
    }
    fields: ClassVar = {
        "num_layers": "encoder_layers",
        "num_decoder_layers": "decoder_layers",
        "layer_norm_epsilon": "norm_eps",
    }
    free = frozenset({"initializer_factor", "feed_forward_proj", "classifier_dropout", "is_decoder"})

    def to_locant(self, theirs: PreTrainedConfig, names: Collection[str]) -> dict[str, Any]:
        """Convert the fields of a T5 config to fields of the Locant config."""
        return {
            "head_dim": theirs.d_kv,
            **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), theirs.num_heads),
            **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), theirs.d_ff),
            **dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), theirs.dropout_rate),
            "activation_function": theirs.dense_act_fn,
            "gated_ffn": theirs.is_gated_act,
            "norm_type": "rmsnorm",
            "norm_position": "pre",
            "attention_bias": False,
            "ffn_bias": False,
            "scale_embedding": False,
            "position_encoding": "t5",
            "position_parameters": {
                "t5": {
                    "num_buckets": theirs.relative_attention_num_buckets,
                    "max_distance": theirs.relative_attention_max_distance,
                }
            },
            # T5Config moves the value of tie_word_embeddings to scale_decoder_outputs, and sets the former to True
            "tie_word_embeddings": theirs.scale_decoder_outputs,
            "decoder_start_token_id": getattr(theirs, "decoder_start_token_id", theirs.pad_token_id),
        }

    def from_locant(self, ours: LocantConfig) -> dict[str, Any]:
        """Convert the fields of a Locant config to fields of the T5 config."""
        activation = {"gelu_new": "gelu"}.get(ours.activation_function, ours.activation_function)
        options = ours.position_options("t5")
        return {
            "d_kv": ours.head_dim_at("encoder"),
            "num_heads": ours.encoder_attention_heads,
            "d_ff": ours.encoder_ffn_dim,
            "dropout_rate": ours.dropout,
            "feed_forward_proj": f"gated-{activation}" if ours.gated_ffn else ours.activation_function,
            "relative_attention_num_buckets": options["num_buckets"],
            "relative_attention_max_distance": options["max_distance"],
            "tie_word_embeddings": ours.tie_word_embeddings,
        }

    def table(self, ours: LocantConfig, theirs: PreTrainedConfig, architecture: str) -> list[Entry]:
        """Return the table of weights of a T5 model, as a list of entries."""
        if architecture == "T5EncoderModel":
            return [
                Entry("encoder.embed_tokens.weight", "encoder.embed_tokens.weight"),
                *_stack("encoder", theirs.num_layers, theirs),
            ]
        body = [Entry(name, name) for name in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")]
        body += _stack("encoder", theirs.num_layers, theirs)
        if architecture == "T5Model":
            return [*body, *_stack("decoder", theirs.num_decoder_layers, theirs)]
        last = [scale(theirs.d_model**-0.5)] if theirs.scale_decoder_outputs else []
        body += _stack("decoder", theirs.num_decoder_layers, theirs, *last)
        return [*under("", "model.", body), Entry("lm_head.weight", "lm_head.weight")]


def _stack(stack: str, layers: int, theirs: PreTrainedConfig, *last: Transform) -> list[Entry]:
    """Return the entries of the weight table for a stack: for its layers, its position biases and its final norm.

    Args:
        stack: `encoder` or `decoder`.
        layers: the number of layers.
        theirs: the config of T5.
        last: the transforms of the weight of the final norm.
    """
    first = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    entries = [Entry(first, f"{stack}.position.table")]
    layer = _attention("layer.0", "SelfAttention", "self_attn", theirs)
    if stack == "decoder":
        layer += _attention("layer.1", "EncDecAttention", "cross_attn", theirs)
    layer += _feed_forward("layer.2" if stack == "decoder" else "layer.1", theirs)
    for index in range(layers):
        entries += under(f"{stack}.block.{index}.", f"{stack}.layers.{index}.", layer)
    return [*entries, *linear(f"{stack}.final_layer_norm", f"{stack}.final_norm", *last, bias=False)]


def _attention(place: str, theirs: str, ours: str, config: PreTrainedConfig) -> list[Entry]:
    entries = linear(f"{place}.layer_norm", f"{ours}_residual.norm", bias=False)
    entries += linear(f"{place}.{theirs}.q", f"{ours}.q_proj", scale(config.d_kv**0.5), bias=False)
    for letter in "kvo":
        entries += linear(f"{place}.{theirs}.{letter}", f"{ours}.{letter}_proj", bias=False)
    return entries


def _feed_forward(place: str, config: PreTrainedConfig) -> list[Entry]:
    parts = {
        "wo": "down_proj",
        **({"wi_0": "gate_proj", "wi_1": "up_proj"} if config.is_gated_act else {"wi": "up_proj"}),
    }
    entries = linear(f"{place}.layer_norm", "ffn_residual.norm", bias=False)
    for theirs, ours in parts.items():
        entries += linear(f"{place}.DenseReluDense.{theirs}", f"ffn.{ours}", bias=False)
    return entries
