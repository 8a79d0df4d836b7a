# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""GPT-2 (Radford et al. 2019): pre-norm language models with learned positions."""

from collections.abc import Collection
from typing import Any, ClassVar

from transformers import PreTrainedConfig

from locant.configuration.configuration_locant import LocantConfig

from .family import TRANSPOSE, Entry, Family, linear, split, under

# the linear layers of GPT-2 hold the transposed matrix, and `c_attn` holds query, key and value together
_LAYER = [
    *linear("ln_1", "self_attn_residual.norm"),
    *(
        Entry(f"attn.c_attn.{kind}", [f"self_attn.{letter}_proj.{kind}" for letter in "qkv"], TRANSPOSE, split(3))
        for kind in ("weight", "bias")
    ),
    *linear("attn.c_proj", "self_attn.o_proj", TRANSPOSE),
    *linear("ln_2", "ffn_residual.norm"),
    *linear("mlp.c_fc", "ffn.up_proj", TRANSPOSE),
    *linear("mlp.c_proj", "ffn.down_proj", TRANSPOSE),
]


class GPT2(Family):
    """Converts `GPT2Model` and `GPT2LMHeadModel` to Locant's models and back."""

    name = "GPT-2"
    model_type = "gpt2"
    architectures: ClassVar = {"GPT2LMHeadModel": "LocantForCausalLM", "GPT2Model": "LocantDecoderModel"}
    fields: ClassVar = {
        "n_positions": "max_position_embeddings",
        "n_embd": "d_model",
        "n_layer": "decoder_layers",
        "n_head": "decoder_attention_heads",
        "resid_pdrop": "dropout",
        "attn_pdrop": "attention_dropout",
        "layer_norm_epsilon": "norm_eps",
    }
    free = frozenset(
        {
            "n_inner",  # None stands for 4 * n_embd
            "embd_pdrop",
            "summary_type",
            "summary_use_proj",
            "summary_activation",
            "summary_proj_to_labels",
            "summary_first_dropout",
        }
    )
    ignored = ("*.attn.masked_bias",)  # a constant that older versions of transformers saved

    def to_locant(self, theirs: Any, names: Collection[str]) -> dict[str, Any]:
        """Convert the fields of a GPT-2 config to fields of the Locant config.

        `resid_pdrop` becomes Locant's `dropout`, which Locant also applies to the embeddings; `embd_pdrop` is ignored.
        """
        return {
            "decoder_ffn_dim": 4 * theirs.n_embd if theirs.n_inner is None else theirs.n_inner,
            "norm_type": "layernorm",
            "norm_position": "pre",
            "scale_embedding": False,
            "position_encoding": "learned",
            "initializer": "normal",
        }

    def from_locant(self, ours: LocantConfig) -> dict[str, Any]:
        """Convert the fields of a Locant config to fields of the GPT-2 config."""
        return {"n_inner": ours.decoder_ffn_dim, "embd_pdrop": ours.dropout}

    def table(self, ours: LocantConfig, theirs: PreTrainedConfig, architecture: str) -> list[Entry]:
        """Return the table of weights of a GPT-2 model, as a list of entries."""
        body = [
            Entry("wte.weight", "decoder.embed_tokens.weight"),
            Entry("wpe.weight", "decoder.position.embeddings.weight"),
            *linear("ln_f", "decoder.final_norm"),
        ]
        for idx in range(ours.decoder_layers):
            body += under(f"h.{idx}.", f"decoder.layers.{idx}.", _LAYER)
        if architecture == "GPT2Model":
            return body
        return [*under("transformer.", "model.", body), Entry("lm_head.weight", "lm_head.weight")]
