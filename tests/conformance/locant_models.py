# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Hugging Face's model and config tests on every class of Locant's, with position encodings that differ in kind.

To add a model class, enter its name in the table of `modeling_auto` for its task, and list it in
the `all_model_classes` of the group that shares its inputs. To add an encoding, subclass the group once more.

A test of the suite is left out only with `leave_out`, which takes the reason why the test cannot apply.
"""

import unittest
from typing import ClassVar
from unittest import mock

import testers
import torch
from testers import check_all_tested, enter_name, leave_out

import locant
from locant import (
    LocantConfig,
    LocantDecoderModel,
    LocantEncoderModel,
    LocantForCausalLM,
    LocantForConditionalGeneration,
    LocantForImageClassification,
    LocantForMaskedLM,
    LocantForQuestionAnswering,
    LocantForSequenceClassification,
    LocantForTokenClassification,
    LocantModel,
    LocantPreTrainedModel,
)
from locant.modeling.positions.rotary import RotaryEncoding

enter_name("MODEL_MAPPING_NAMES", LocantModel, LocantEncoderModel, LocantDecoderModel)
enter_name("MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES", LocantForConditionalGeneration)
enter_name("MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES", LocantForConditionalGeneration)
enter_name("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", LocantForCausalLM)
enter_name("MODEL_FOR_MASKED_LM_MAPPING_NAMES", LocantForMaskedLM)
enter_name("MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES", LocantForSequenceClassification)
enter_name("MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES", LocantForTokenClassification)
enter_name("MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES", LocantForQuestionAnswering)
enter_name("MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES", LocantForImageClassification)

ENCODER = {"encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 48}
DECODER = {"decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 48}
PATCHES = {"encoder_input": "patches"}

not_rotary = leave_out(
    "expects `rope_parameters` to change the output; every LocantConfig has them, but only rotary uses them",
    "test_model_rope_scaling_from_config",
)
no_source_ids = leave_out(
    "gives token ids or their embeddings to an encoder, which here reads images",
    "test_inputs_embeds",
    "test_model_rope_scaling_from_config",
    "test_model_rope_with_partial_rotation",
)


class Angles(RotaryEncoding):
    """Rotary positions whose `forward` returns cosines and sines as the suite expects: `(batch, length, R / 2)`."""

    def forward(self, hidden_states: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        _, (cos, sin) = super().forward(hidden_states, position_ids, None)
        return cos.squeeze(1), sin.squeeze(1)


class AnglesOnly(LocantPreTrainedModel):
    """A model with nothing but `Angles`, under the attribute name by which the suite finds them."""

    def __init__(self, config: LocantConfig):
        super().__init__(config)
        self.rotary_emb = Angles(config)


enter_name("MODEL_MAPPING_NAMES", AnglesOnly)


class Rotary:
    """A mixin for rotary positions; if it is the first base of a test class, tests of rope types run too."""

    position: ClassVar = {
        "position_encoding": "rotary",
        # Naming `partial_rotary_factor` is what makes the suite test it.
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
    }

    def setUp(self):
        super().setUp()
        if "_rope_" in self._testMethodName:
            # These tests set the rope type in `config.get_text_config(decoder=True)`, then build the model
            # from `config`. If `config` describes both stacks, the former is a copy: return `config` itself.
            self.enterContext(mock.patch.object(LocantConfig, "get_text_config", lambda config, **_: config))
        if self._testMethodName == "test_model_rope_scaling_frequencies":
            self.all_model_classes = (AnglesOnly,)


class LocantSeq2Seq(testers.Seq2SeqTests):
    all_model_classes = (LocantModel, LocantForConditionalGeneration)
    config_class = LocantConfig
    config_fields: ClassVar = {"d_model": 32, **ENCODER, **DECODER}


@not_rotary
class Seq2SeqNone(LocantSeq2Seq, unittest.TestCase):
    position: ClassVar = {"position_encoding": "none"}


@not_rotary
class Seq2SeqSinusoidal(LocantSeq2Seq, unittest.TestCase):
    position: ClassVar = {"position_encoding": "sinusoidal"}


@not_rotary
class Seq2SeqLearned(LocantSeq2Seq, unittest.TestCase):
    position: ClassVar = {"position_encoding": "learned"}


@not_rotary
class Seq2SeqShaw(LocantSeq2Seq, unittest.TestCase):
    position: ClassVar = {"position_encoding": "shaw", "cross_position_encoding": "shaw"}

    def setUp(self):
        super().setUp()
        if self._testMethodName in (
            "test_can_set_attention_dynamically",
            "test_sdpa_can_dispatch_non_composite_models",
        ):
            # These tests set sdpa, which a model with vectors of values refuses: sdpa returns no attention weights.
            self.model_tester.config_fields["position_parameters"] = {"shaw": {"values": False}}


@not_rotary
class Seq2SeqTransformerXL(LocantSeq2Seq, unittest.TestCase):
    position: ClassVar = {"position_encoding": "transformer_xl"}


@not_rotary
class Seq2SeqT5(LocantSeq2Seq, unittest.TestCase):
    position: ClassVar = {"position_encoding": "t5"}


@not_rotary
class Seq2SeqAlibi(LocantSeq2Seq, unittest.TestCase):
    position: ClassVar = {"position_encoding": "alibi"}


class Seq2SeqRotary(Rotary, LocantSeq2Seq, unittest.TestCase):
    pass


class LocantTextEncoder(testers.TextEncoderTests):
    all_model_classes = (
        LocantEncoderModel,
        LocantForMaskedLM,
        LocantForSequenceClassification,
        LocantForTokenClassification,
        LocantForQuestionAnswering,
    )
    config_class = LocantConfig
    config_fields: ClassVar = {"is_encoder_decoder": False, "d_model": 32, **ENCODER}


@not_rotary
class TextEncoderLearned(LocantTextEncoder, unittest.TestCase):
    """With the fields of BERT."""

    position: ClassVar = {
        "position_encoding": "learned",
        "type_vocab_size": 2,
        "embedding_norm": True,
        "pooling": "first",
        "pooler_projection": True,
        "lm_head_bias": True,
    }


@not_rotary
class TextEncoderT5(LocantTextEncoder, unittest.TestCase):
    position: ClassVar = {"position_encoding": "t5"}


class TextEncoderRotary(Rotary, LocantTextEncoder, unittest.TestCase):
    pass


class LocantDecoder(testers.DecoderTests):
    all_model_classes = (LocantDecoderModel, LocantForCausalLM)
    config_class = LocantConfig
    config_fields: ClassVar = {"is_decoder": True, "d_model": 32, **DECODER, "decoder_key_value_heads": 2}


@not_rotary
class DecoderLearned(LocantDecoder, unittest.TestCase):
    position: ClassVar = {"position_encoding": "learned"}


@not_rotary
class DecoderAlibi(LocantDecoder, unittest.TestCase):
    position: ClassVar = {"position_encoding": "alibi"}


class DecoderRotary(Rotary, LocantDecoder, unittest.TestCase):
    pass


@no_source_ids
@leave_out("embeds tokens, of which there are none", "test_inputs_embeds_matches_input_ids")
class LocantImage(testers.ImageTests):
    all_model_classes = (LocantEncoderModel, LocantForImageClassification)
    config_class = LocantConfig
    config_fields: ClassVar = {"is_encoder_decoder": False, "d_model": 32, **ENCODER, **PATCHES}


class ImageLearned(LocantImage, unittest.TestCase):
    """With the fields of ViT."""

    position: ClassVar = {"position_encoding": "learned", "pooling": "first", "pooler_projection": True}


class ImageSinusoidal(LocantImage, unittest.TestCase):
    position: ClassVar = {"position_encoding": "sinusoidal", "pooling": "mean"}


class ImageRotary(Rotary, LocantImage, unittest.TestCase):
    position: ClassVar = {**Rotary.position, "pooling": "mean"}


@no_source_ids
class LocantImageToText(testers.ImageToTextTests):
    all_model_classes = (LocantModel, LocantForConditionalGeneration)
    config_class = LocantConfig
    config_fields: ClassVar = {"d_model": 32, **ENCODER, **DECODER, **PATCHES}


class ImageToTextLearned(LocantImageToText, unittest.TestCase):
    position: ClassVar = {"position_encoding": "learned", "pooling": "first"}


class ImageToTextRotary(Rotary, LocantImageToText, unittest.TestCase):
    position: ClassVar = {**Rotary.position, "pooling": "mean"}


check_all_tested(locant, LocantPreTrainedModel, list(globals().values()))
