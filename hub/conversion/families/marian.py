# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Marian (Junczys-Dowmunt et al. 2018): the Transformer of Vaswani et al. 2017 with a bias in the output layer."""

from collections.abc import Collection
from typing import Any, ClassVar

import torch
from transformers import PreTrainedConfig

from locant.configuration.configuration_locant import LocantConfig
from locant.modeling.positions.sinusoidal import sinusoidal_table

from .family import UNUSED, Entry, Family, constant, linear, reshape, under


class Marian(Family):
    """Converts `MarianModel` and `MarianMTModel` to Locant's models and back."""

    name = "Marian"
    model_type = "marian"
    architectures: ClassVar = {"MarianMTModel": "LocantForConditionalGeneration", "MarianModel": "LocantModel"}
    free = frozenset({"encoder_layerdrop", "decoder_layerdrop", "init_std", "forced_eos_token_id"}) | {
        "share_encoder_decoder_embeddings"  # `to_locant` converts it together with tie_word_embeddings
    }
    bridged: ClassVar = {"lm_head_bias": (False, True), "share_encoder_decoder_embeddings": (True, False)}

    def to_locant(self, theirs: PreTrainedConfig, names: Collection[str]) -> dict[str, Any]:
        """Convert the fields of a Marian config to fields of the Locant config."""
        return {
            "position_encoding": "sinusoidal",
            "position_parameters": {"sinusoidal": {"layout": "concatenated"}},
            "lm_head_bias": True,
            # transformers shares the embedding tables only if it also ties the output layer
            "share_encoder_decoder_embeddings": theirs.share_encoder_decoder_embeddings and theirs.tie_word_embeddings,
        }

    def from_locant(self, ours: LocantConfig) -> dict[str, Any]:
        """Convert the fields of a Locant config to fields of the Marian config."""
        return {
            "share_encoder_decoder_embeddings": ours.share_encoder_decoder_embeddings and ours.tie_word_embeddings,
            "forced_eos_token_id": None,  # this option is in the generation config, which is converted separately
        }

    def table(self, ours: LocantConfig, theirs: PreTrainedConfig, architecture: str) -> list[Entry]:
        """Return the table of weights of a Marian model, as a list of entries."""
        has_unused_table = theirs.share_encoder_decoder_embeddings and not theirs.tie_word_embeddings
        body = [*stacks(ours, has_unused_table), *self._positions(theirs)]
        if architecture == "MarianModel":
            return body
        return [*under("model.", "model.", body), *head(ours)]

    def _positions(self, theirs: PreTrainedConfig) -> list[Entry]:
        def table() -> torch.Tensor:
            return sinusoidal_table(theirs.max_position_embeddings, theirs.d_model, "concatenated")

        return [Entry(f"{stack}.embed_positions.weight", (), constant(table)) for stack in ("encoder", "decoder")]


def stacks(ours: LocantConfig, has_unused_table: bool) -> list[Entry]:
    """Return the entries of the weight table that Marian and BART share: those of token embeddings and layers.

    Args:
        ours: the Locant config.
        has_unused_table: whether the model of transformers has an embedding table `shared.weight` that it does not use,
            because `shared.weight` is tied to no other table.
    """
    entries = []
    for stack in ("encoder", "decoder"):
        layer = [*_attention("self_attn", "self_attn"), *linear("fc1", "ffn.up_proj"), *linear("fc2", "ffn.down_proj")]
        layer += linear("final_layer_norm", "ffn_residual.norm")
        if stack == "decoder":
            layer += _attention("encoder_attn", "cross_attn")
        embeddings = f"{stack}.embed_tokens.weight"
        if has_unused_table and stack == "encoder":
            entries.append(Entry(("shared.weight", embeddings), embeddings, UNUSED))
        else:
            entries.append(Entry(embeddings, embeddings))
        for index in range(getattr(ours, f"{stack}_layers")):
            entries += under(f"{stack}.layers.{index}.", f"{stack}.layers.{index}.", layer)
    return entries


def head(ours: LocantConfig) -> list[Entry]:
    """Return the entries of the weight table for the output layer of Marian and BART.

    In transformers, the bias of the output layer is the buffer `final_logits_bias`.
    """
    size = ours.vocab_size
    if ours.lm_head_bias:
        bias = Entry("final_logits_bias", "lm_head.bias", reshape((1, size), (size,)))
    else:
        bias = Entry("final_logits_bias", (), constant(lambda: torch.zeros(1, size)))
    return [Entry("lm_head.weight", "lm_head.weight"), bias]


def _attention(theirs: str, ours: str) -> list[Entry]:
    entries = linear(f"{theirs}_layer_norm", f"{ours}_residual.norm") + linear(f"{theirs}.out_proj", f"{ours}.o_proj")
    for letter in "qkv":
        entries += linear(f"{theirs}.{letter}_proj", f"{ours}.{letter}_proj")
    return entries
