# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Hugging Face's model tests on transformers' own model of each kind, for comparison with Locant."""

import unittest
from typing import ClassVar

from testers import DecoderTests, ImageTests, Seq2SeqTests, TextEncoderTests
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    MarianConfig,
    MarianModel,
    MarianMTModel,
    OPTConfig,
    OPTForCausalLM,
    OPTModel,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

ONE_STACK = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


class Seq2SeqMarian(Seq2SeqTests, unittest.TestCase):
    all_model_classes = (MarianModel, MarianMTModel)
    config_class = MarianConfig
    config_fields: ClassVar = {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
    }


class TextEncoderBert(TextEncoderTests, unittest.TestCase):
    all_model_classes = (
        BertModel,
        BertForMaskedLM,
        BertForSequenceClassification,
        BertForTokenClassification,
        BertForQuestionAnswering,
    )
    config_class = BertConfig
    config_fields = ONE_STACK


class DecoderLlama(DecoderTests, unittest.TestCase):
    all_model_classes = (LlamaModel, LlamaForCausalLM)
    config_class = LlamaConfig
    config_fields: ClassVar = {**ONE_STACK, "num_key_value_heads": 2}


class DecoderOPT(DecoderTests, unittest.TestCase):
    """A decoder without rotary positions."""

    all_model_classes = (OPTModel, OPTForCausalLM)
    config_class = OPTConfig
    config_fields: ClassVar = {
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "ffn_dim": 48,
    }


class ImageViT(ImageTests, unittest.TestCase):
    all_model_classes = (ViTModel, ViTForImageClassification)
    config_class = ViTConfig
    config_fields = ONE_STACK
