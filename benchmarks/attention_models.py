# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Makes stacks of one shape: Locant's, and models of transformers with the same position encoding."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import transformers
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.bart.modeling_bart import BartEncoder
from transformers.models.marian.modeling_marian import MarianEncoder

from locant.configuration.configuration_locant import LocantConfig
from locant.modeling.stacks import LocantDecoder, LocantEncoder


@dataclass(frozen=True)
class Shape:
    """The sizes that all compared models share."""

    layers: int = 2
    width: int = 512
    heads: int = 8
    ffn: int = 2048
    vocabulary: int = 8000

    def __str__(self) -> str:
        layers = f"{self.layers} layer{'' if self.layers == 1 else 's'}"
        width = f"width {self.width:,}, {self.heads} heads, feed-forward {self.ffn:,}"
        return f"{layers}, {width}, vocabulary {self.vocabulary:,}"


BENCHMARK = Shape()
LONG = Shape(layers=1, width=256, heads=4, ffn=1024)  # all pairs of 32,768 tokens take a minute on 2 cores
QUICK = Shape(width=32, heads=2, ffn=128, vocabulary=50)


def build_locant(
    shape: Shape, length: int, backend: str, encoding: str, stack: str = "encoder", **fields: Any
) -> PreTrainedModel:
    """An encoder, or a decoder by itself, with random weights and without dropout.

    Args:
        shape: its layers and widths.
        length: number of tokens of the longest input.
        backend: the attention implementation.
        encoding: the position encoding.
        stack: `encoder` or `decoder`.
        fields: more fields of `LocantConfig`.

    Raises:
        ValueError: the backend cannot serve the encoding.
    """
    config = LocantConfig(
        vocab_size=shape.vocabulary,
        d_model=shape.width,
        encoder_layers=shape.layers,
        decoder_layers=shape.layers,
        encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.heads,
        encoder_ffn_dim=shape.ffn,
        decoder_ffn_dim=shape.ffn,
        dropout=0.0,
        position_encoding=encoding,
        max_position_embeddings=length,
        use_cache=False,
        **fields,
    )
    model = (LocantEncoder if stack == "encoder" else LocantDecoder)(config)
    model.set_attn_implementation(backend)
    return model


@dataclass(frozen=True)
class BuiltIn:
    """A model of transformers.

    Args:
        model: its class.
        config: makes the config from a shape and the number of tokens of the longest input.
    """

    model: type[PreTrainedModel]
    config: Callable[[Shape, int], PreTrainedConfig]

    def build(self, shape: Shape, length: int, backend: str) -> PreTrainedModel:
        """The model with random weights and without dropout.

        Raises:
            ValueError: the model does not support the backend.
        """
        config = self.config(shape, length)
        config._attn_implementation = backend  # some models accept the backend only at construction
        return self.model(config)


def _bert_fields(shape: Shape, length: int) -> dict[str, Any]:
    return {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.ffn,
        "max_position_embeddings": length,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "use_cache": False,
        "pad_token_id": 0,
    }


def _bart_fields(shape: Shape, length: int) -> dict[str, Any]:
    return {
        "vocab_size": shape.vocabulary,
        "d_model": shape.width,
        "encoder_layers": shape.layers,
        "encoder_attention_heads": shape.heads,
        "encoder_ffn_dim": shape.ffn,
        "max_position_embeddings": length,
        "dropout": 0.0,
        "pad_token_id": 0,
    }


def _llama_fields(shape: Shape, length: int) -> dict[str, Any]:
    return {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "intermediate_size": shape.ffn,
        "max_position_embeddings": length,
        "use_cache": False,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def _marian(shape: Shape, length: int) -> PreTrainedConfig:
    fields = _bart_fields(shape, length)
    return transformers.MarianConfig(
        **fields, activation_function="relu", scale_embedding=True, decoder_start_token_id=1
    )


def _bert(shape: Shape, length: int) -> PreTrainedConfig:
    return transformers.BertConfig(**_bert_fields(shape, length))


def _bart(shape: Shape, length: int) -> PreTrainedConfig:
    return transformers.BartConfig(**_bart_fields(shape, length))


def _xlnet(shape: Shape, length: int) -> PreTrainedConfig:
    return transformers.XLNetConfig(
        vocab_size=shape.vocabulary,
        d_model=shape.width,
        n_layer=shape.layers,
        n_head=shape.heads,
        d_inner=shape.ffn,
        dropout=0.0,
        mem_len=None,
        use_mems_eval=False,
        pad_token_id=0,
    )


def _t5(shape: Shape, length: int) -> PreTrainedConfig:
    return transformers.T5Config(
        vocab_size=shape.vocabulary,
        d_model=shape.width,
        d_kv=shape.width // shape.heads,
        d_ff=shape.ffn,
        num_layers=shape.layers,
        num_heads=shape.heads,
        dropout_rate=0.0,
    )


def _falcon(shape: Shape, length: int) -> PreTrainedConfig:
    return transformers.FalconConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        ffn_hidden_size=shape.ffn,
        max_position_embeddings=length,
        alibi=True,
        multi_query=False,
        parallel_attn=False,
        bias=True,
        use_cache=False,
    )


def _bloom(shape: Shape, length: int) -> PreTrainedConfig:
    # Bloom's feed-forward is always four times as wide as its hidden states
    return transformers.BloomConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        n_layer=shape.layers,
        n_head=shape.heads,
        use_cache=False,
    )


def _mpt(shape: Shape, length: int) -> PreTrainedConfig:
    return transformers.MptConfig(
        vocab_size=shape.vocabulary,
        d_model=shape.width,
        n_layers=shape.layers,
        n_heads=shape.heads,
        expansion_ratio=shape.ffn // shape.width,
        max_seq_len=length,
        use_cache=False,
    )


def _esm(shape: Shape, length: int) -> PreTrainedConfig:
    return transformers.EsmConfig(**_bert_fields(shape, length), position_embedding_type="rotary", mask_token_id=3)


def _roformer(shape: Shape, length: int) -> PreTrainedConfig:
    return transformers.RoFormerConfig(**_bert_fields(shape, length))


def _llama(shape: Shape, length: int) -> PreTrainedConfig:
    return transformers.LlamaConfig(**_llama_fields(shape, length))


def _smollm3(shape: Shape, length: int) -> PreTrainedConfig:
    return transformers.SmolLM3Config(**_llama_fields(shape, length), no_rope_layers=[0] * shape.layers)


T5 = BuiltIn(transformers.T5EncoderModel, _t5)

T5_LAYER: dict[str, Any] = {
    "norm_position": "pre",
    "norm_type": "rmsnorm",
    "attention_bias": False,
    "ffn_bias": False,
    "scale_embedding": False,
}
_LLAMA_LAYER = {**T5_LAYER, "gated_ffn": True, "activation_function": "silu"}
_GPT_LAYER = {"norm_position": "pre", "activation_function": "gelu", "scale_embedding": False}
_BERT_LAYER = {**_GPT_LAYER, "norm_position": "post"}


@dataclass(frozen=True)
class Comparison:
    """One position encoding in one stack, and the models of transformers that have the encoding in such a stack.

    Args:
        encoding: its name in Locant.
        stack: `encoder` or `decoder`.
        fields: fields of `LocantConfig` that make a layer of Locant like a layer of one of the built-in models.
        built_ins: the models of transformers, by name.
    """

    encoding: str
    stack: str
    fields: dict[str, Any] = field(default_factory=dict)
    built_ins: dict[str, BuiltIn] = field(default_factory=dict)


# There is a comparison of decoders if only causal models of transformers have the encoding, or if a causal model is the
# fastest of those that have it
COMPARISONS = [
    Comparison("none", "encoder"),
    Comparison("none", "decoder", _LLAMA_LAYER, {"SmolLM3": BuiltIn(transformers.SmolLM3Model, _smollm3)}),
    Comparison("sinusoidal", "encoder", {}, {"Marian": BuiltIn(MarianEncoder, _marian)}),
    Comparison(
        "learned",
        "encoder",
        _BERT_LAYER,
        {"BERT": BuiltIn(transformers.BertModel, _bert), "BART": BuiltIn(BartEncoder, _bart)},
    ),
    Comparison("shaw", "encoder"),
    Comparison("transformer_xl", "encoder", _BERT_LAYER, {"XLNet": BuiltIn(transformers.XLNetModel, _xlnet)}),
    Comparison("t5", "encoder", T5_LAYER, {"T5": T5}),
    Comparison("alibi", "encoder"),
    Comparison(
        "alibi",
        "decoder",
        _GPT_LAYER,
        {
            "Falcon": BuiltIn(transformers.FalconModel, _falcon),
            "Bloom": BuiltIn(transformers.BloomModel, _bloom),
            "MPT": BuiltIn(transformers.MptModel, _mpt),
        },
    ),
    Comparison(
        "rotary",
        "encoder",
        _GPT_LAYER,
        {
            "ESM": BuiltIn(transformers.EsmModel, _esm),
            "RoFormer": BuiltIn(transformers.RoFormerModel, _roformer),
        },
    ),
    Comparison("rotary", "decoder", _LLAMA_LAYER, {"Llama": BuiltIn(transformers.LlamaModel, _llama)}),
]
