# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""BERT (Devlin et al. 2019): post-norm text encoders with learned positions."""

from collections.abc import Collection
from typing import Any, ClassVar

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from locant.configuration.configuration_locant import LocantConfig

from ...errors import SharingError
from .family import UNUSED, Entry, Family, constant, linear, under

_EMBEDDINGS = [
    Entry("word_embeddings.weight", "embed_tokens.weight"),
    Entry("position_embeddings.weight", "position.embeddings.weight"),
    Entry("token_type_embeddings.weight", "embed_token_types.weight"),
    *linear("LayerNorm", "embed_norm"),
]
_LAYER = [
    *linear("attention.self.query", "self_attn.q_proj"),
    *linear("attention.self.key", "self_attn.k_proj"),
    *linear("attention.self.value", "self_attn.v_proj"),
    *linear("attention.output.dense", "self_attn.o_proj"),
    *linear("attention.output.LayerNorm", "self_attn_residual.norm"),
    *linear("intermediate.dense", "ffn.up_proj"),
    *linear("output.dense", "ffn.down_proj"),
    *linear("output.LayerNorm", "ffn_residual.norm"),
]
_POOLER = linear("pooler.dense", "pooler.projection.0")
_MASKED_LM = [
    *linear("cls.predictions.transform.dense", "transform.0"),
    *linear("cls.predictions.transform.LayerNorm", "transform.2"),
    Entry("cls.predictions.decoder.weight", "lm_head.weight"),
]
# The names of the output bias. If the output layer is tied to the embeddings, both names belong to one weight; if it is
# not tied, the model does not use the weight with the first name
_BIASES = ("cls.predictions.bias", "cls.predictions.decoder.bias")
_HEADS = {
    "BertForMaskedLM": _MASKED_LM,
    "BertForPreTraining": _MASKED_LM,  # the pooler and the head for sentence pairs must be left out with --drop
    "BertForSequenceClassification": [*linear("classifier", "classifier"), *under("bert.", "model.", _POOLER)],
    "BertForTokenClassification": linear("classifier", "classifier"),
    "BertForQuestionAnswering": linear("qa_outputs", "qa_outputs"),
}


class Bert(Family):
    """Converts the BERT classes in `architectures` to Locant's classes and, except `BertForPreTraining`, back.

    `BertModel` is converted with its pooler, if it has one.
    """

    name = "BERT"
    model_type = "bert"
    architectures: ClassVar = {
        "BertModel": "LocantEncoderModel",
        "BertForMaskedLM": "LocantForMaskedLM",
        "BertForPreTraining": "LocantForMaskedLM",
        "BertForSequenceClassification": "LocantForSequenceClassification",
        "BertForTokenClassification": "LocantForTokenClassification",
        "BertForQuestionAnswering": "LocantForQuestionAnswering",
    }
    fields: ClassVar = {
        "hidden_size": "d_model",
        "num_hidden_layers": "encoder_layers",
        "num_attention_heads": "encoder_attention_heads",
        "intermediate_size": "encoder_ffn_dim",
        "hidden_act": "activation_function",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
        "layer_norm_eps": "norm_eps",
    }
    bridged: ClassVar = {"lm_head_bias": (False, True)}

    def to_locant(self, theirs: Any, names: Collection[str]) -> dict[str, Any]:
        """Convert the fields of a BERT config to fields of the Locant config.

        The config does not say whether a `BertModel` has a pooler: the names of the weights show this.
        """
        kind = getattr(theirs, "position_embedding_type", None) or "absolute"  # a field of older configs
        if kind != "absolute":
            raise SharingError(
                f"This BERT has position_embedding_type={kind!r}, which transformers no longer computes: only "
                f"'absolute' can be converted."
            )
        is_bare = (theirs.architectures or ["BertModel"])[0] == "BertModel"
        return {
            "norm_type": "layernorm",
            "norm_position": "post",
            "scale_embedding": False,
            "embedding_norm": True,
            "position_encoding": "learned",
            "pooling": "first",
            "pooler_projection": not is_bare or any(name.endswith("pooler.dense.weight") for name in names),
            "lm_head_bias": True,
            "initializer": "normal",
        }

    def from_locant(self, ours: LocantConfig) -> dict[str, Any]:
        """Convert the fields of a Locant config to fields of the BERT config, with at least one token type."""
        return {"type_vocab_size": max(ours.type_vocab_size, 1)}

    def table(self, ours: LocantConfig, theirs: PreTrainedConfig, architecture: str) -> list[Entry]:
        """Return the table of weights of a BERT model, as a list of entries."""
        body = under("embeddings.", "encoder.", _EMBEDDINGS)
        for idx in range(ours.encoder_layers):
            body += under(f"encoder.layer.{idx}.", f"encoder.layers.{idx}.", _LAYER)
        if architecture == "BertModel":
            return body + (_POOLER if ours.pooler_projection else [])
        entries = under("bert.", "model.", body) + _HEADS[architecture]
        if self.architectures[architecture] == "LocantForMaskedLM":
            entries += _output_bias(ours)
        return entries

    def build(self, model_class: type[PreTrainedModel], theirs: PreTrainedConfig, ours: LocantConfig | None) -> Any:
        """Build the model, unless it is a model for question answering with other labels than start and end.

        Raises:
            SharingError: the number of labels of a model for question answering is not two (start and end).
        """
        if model_class.__name__ == "BertForQuestionAnswering" and theirs.num_labels != 2:
            raise SharingError(
                f"Question answering has two labels, start and end, but the config has num_labels={theirs.num_labels}: "
                "only models with two labels can be converted."
            )
        return super().build(model_class, theirs, ours)


def _output_bias(ours: LocantConfig) -> list[Entry]:
    if ours.lm_head_bias:
        return [Entry(_BIASES, "lm_head.bias", UNUSED)]
    return [Entry(name, (), constant(lambda: torch.zeros(ours.vocab_size))) for name in _BIASES]
