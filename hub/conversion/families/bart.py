# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""BART (Lewis et al. 2020): post-norm encoder–decoders with learned positions and a layer norm after the embeddings."""

from collections.abc import Collection
from typing import Any, ClassVar

from transformers import PreTrainedConfig

from locant.configuration.configuration_locant import LocantConfig

from .family import Entry, Family, linear, under
from .marian import head, stacks

_OFFSET = 2  # the number of rows in the position table before the row of position 0


class Bart(Family):
    """Converts `BartModel` and `BartForConditionalGeneration` to Locant's models and back."""

    name = "BART"
    model_type = "bart"
    architectures: ClassVar = {
        "BartForConditionalGeneration": "LocantForConditionalGeneration",
        "BartModel": "LocantModel",
    }
    free = frozenset({"encoder_layerdrop", "decoder_layerdrop", "init_std", "classifier_dropout"}) | {
        "forced_eos_token_id"
    }
    bridged: ClassVar = {"lm_head_bias": (False, True), "share_encoder_decoder_embeddings": (True, False)}

    def to_locant(self, theirs: PreTrainedConfig, names: Collection[str]) -> dict[str, Any]:
        """Convert the fields of a BART config to fields of the Locant config."""
        return {
            "position_encoding": "learned",
            "position_parameters": {"learned": {"offset": _OFFSET}},
            "embedding_norm": True,
            "lm_head_bias": True,
            "share_encoder_decoder_embeddings": theirs.tie_word_embeddings,  # BART ties all embedding tables or none
        }

    def from_locant(self, ours: LocantConfig) -> dict[str, Any]:
        """Convert the fields of a Locant config to fields of the BART config."""
        return {"forced_eos_token_id": None}  # this option is in the generation config, which is converted separately

    def table(self, ours: LocantConfig, theirs: PreTrainedConfig, architecture: str) -> list[Entry]:
        """Return the table of weights of a BART model, as a list of entries."""
        body = stacks(ours, has_unused_table=not theirs.tie_word_embeddings)
        for stack in ("encoder", "decoder"):
            body.append(Entry(f"{stack}.embed_positions.weight", f"{stack}.position.embeddings.weight"))
            body += linear(f"{stack}.layernorm_embedding", f"{stack}.embed_norm")
        if architecture == "BartModel":
            return body
        return [*under("model.", "model.", body), *head(ours)]
