# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Llama (Touvron et al. 2023): pre-norm decoders with gated feed-forward layers and rotary positions.

Every rope type that transformers' Llama can run is converted.
"""

from collections.abc import Collection
from typing import Any, ClassVar

from transformers import PreTrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from locant.configuration.configuration_locant import LocantConfig

from ...errors import SharingError
from .family import Entry, Family, linear, under


class Llama(Family):
    """Converts `LlamaModel` and `LlamaForCausalLM` to Locant's models and back."""

    name = "Llama"
    model_type = "llama"
    architectures: ClassVar = {"LlamaForCausalLM": "LocantForCausalLM", "LlamaModel": "LocantDecoderModel"}
    fields: ClassVar = {
        "hidden_size": "d_model",
        "intermediate_size": "decoder_ffn_dim",
        "num_hidden_layers": "decoder_layers",
        "num_attention_heads": "decoder_attention_heads",
        "hidden_act": "activation_function",
        "rms_norm_eps": "norm_eps",
        "mlp_bias": "ffn_bias",
    }
    free = frozenset({"attention_dropout", "pretraining_tp", "rope_parameters"})

    def to_locant(self, theirs: Any, names: Collection[str]) -> dict[str, Any]:
        """Convert the fields of a Llama config to fields of the Locant config."""
        own_heads = theirs.num_key_value_heads == theirs.num_attention_heads
        own_size = theirs.head_dim == theirs.hidden_size // theirs.num_attention_heads
        return {
            "decoder_key_value_heads": None if own_heads else theirs.num_key_value_heads,
            "head_dim": None if own_size else theirs.head_dim,
            "gated_ffn": True,
            "norm_type": "rmsnorm",
            "norm_position": "pre",
            "dropout": 0.0,
            "attention_dropout": theirs.attention_dropout or 0.0,
            "scale_embedding": False,
            "position_encoding": "rotary",
            "rope_parameters": _rope_parameters(theirs.rope_parameters),
            "initializer": "normal",
        }

    def from_locant(self, ours: LocantConfig) -> dict[str, Any]:
        """Convert the fields of a Locant config to fields of the Llama config.

        `partial_rotary_factor` is left out unless the rope type is `proportional`: with other rope types, transformers'
        Llama cannot rotate a part of each head.
        """
        rope = dict(ours.rope_parameters or {})
        if rope.get("rope_type", "default") != "proportional":
            rope.pop("partial_rotary_factor", None)
        return {
            "num_key_value_heads": ours.decoder_key_value_heads or ours.decoder_attention_heads,
            "head_dim": ours.head_dim_at("decoder"),
            "attention_dropout": ours.attention_dropout,
            "rope_parameters": rope,
        }

    def table(self, ours: LocantConfig, theirs: PreTrainedConfig, architecture: str) -> list[Entry]:
        """Return the table of weights of a Llama model, as a list of entries."""
        body = [
            Entry("embed_tokens.weight", "decoder.embed_tokens.weight"),
            Entry("norm.weight", "decoder.final_norm.weight"),
        ]
        for idx in range(ours.decoder_layers):
            body += under(f"layers.{idx}.", f"decoder.layers.{idx}.", _layer(ours))
        if architecture == "LlamaModel":
            return body
        return [*under("model.", "model.", body), Entry("lm_head.weight", "lm_head.weight")]


def _layer(ours: LocantConfig) -> list[Entry]:
    entries = linear("input_layernorm", "self_attn_residual.norm", bias=False)
    for letter in "qkvo":
        entries += linear(f"self_attn.{letter}_proj", f"self_attn.{letter}_proj", bias=ours.attention_bias)
    entries += linear("post_attention_layernorm", "ffn_residual.norm", bias=False)
    for name in ("gate_proj", "up_proj", "down_proj"):
        entries += linear(f"mlp.{name}", f"ffn.{name}", bias=ours.ffn_bias)
    return entries


def _rope_parameters(theirs: dict[str, Any]) -> dict[str, Any]:
    """Return the rope parameters that Llama uses, without `partial_rotary_factor` if Llama would ignore it.

    Raises:
        SharingError: the rope type is unknown, or transformers' Llama cannot run it with this `partial_rotary_factor`.
    """
    # older configs have `type`, which transformers has copied to `rope_type`; a parameter of value None is not set
    rope = {name: value for name, value in theirs.items() if name != "type" and value is not None}
    kind, part = rope["rope_type"], rope.get("partial_rotary_factor", 1.0)
    if kind not in ("default", *ROPE_INIT_FUNCTIONS):
        known = ", ".join(["default", *ROPE_INIT_FUNCTIONS])
        raise SharingError(f"rope_parameters has rope_type={kind!r}, but Llama supports only the rope types {known}.")
    if kind not in ("default", "proportional") and part != 1.0:
        raise SharingError(
            f"rope_parameters has partial_rotary_factor={part} with rope_type={kind!r}, which transformers' Llama "
            f"cannot run: it rotates a part of each head only with rope_type='proportional'."
        )
    if kind != "proportional":
        rope.pop("partial_rotary_factor", None)
    return rope
