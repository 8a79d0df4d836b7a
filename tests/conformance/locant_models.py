# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Hugging Face's model and config tests on Locant's classes, once for each position encoding.

To add a model class, enter its name in the table of `modeling_auto` that says what it is for, and list it in
the `all_model_classes` of the group that shares its inputs. To add an encoding, subclass the group once more.

No test of theirs is left out but by `leave_out`, with the reason why it cannot apply.
"""

import unittest
from typing import Any, ClassVar
from unittest import mock

from hf_suite.generation.test_utils import GenerationTesterMixin
from hf_suite.test_configuration_common import ConfigTester
from hf_suite.test_modeling_common import ModelTesterMixin
from testers import Seq2SeqTester, enter_name, leave_out
from transformers import set_seed

from locant.configuration.configuration_locant import LocantConfig
from locant.modeling.modeling_locant import LocantForConditionalGeneration, LocantModel

enter_name("MODEL_MAPPING_NAMES", "locant", "LocantModel")
enter_name("MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES", "locant", "LocantForConditionalGeneration")


class Seq2SeqTests(ModelTesterMixin, GenerationTesterMixin):
    """The encoder-decoder and its heads; subclasses say with which encoding."""

    all_model_classes = (LocantModel, LocantForConditionalGeneration)
    is_encoder_decoder = True
    config_fields: ClassVar[dict[str, Any]]

    def setUp(self):
        super().setUp()
        set_seed(0)
        self.model_tester = Seq2SeqTester(LocantConfig, **self.config_fields)
        self.config_tester = ConfigTester(self, config_class=LocantConfig, d_model=48, **self.config_fields)

    def test_config(self):
        self.config_tester.run_common_tests()


_ROPE_ON_ALL = (
    "expects `rope_parameters` to change the output; every LocantConfig has them, but only rotary uses them",
    "test_model_rope_scaling_from_config",
)


@leave_out(*_ROPE_ON_ALL)
class Seq2SeqNone(Seq2SeqTests, unittest.TestCase):
    config_fields: ClassVar = {"position_encoding": "none"}


@leave_out(*_ROPE_ON_ALL)
class Seq2SeqSinusoidal(Seq2SeqTests, unittest.TestCase):
    config_fields: ClassVar = {"position_encoding": "sinusoidal"}


@leave_out(*_ROPE_ON_ALL)
class Seq2SeqLearned(Seq2SeqTests, unittest.TestCase):
    config_fields: ClassVar = {"position_encoding": "learned"}


@leave_out(*_ROPE_ON_ALL)
@leave_out(
    "sets sdpa, which returns no weights for Shaw's values to meet: such a model refuses it and takes blockwise",
    "test_can_set_attention_dynamically",
    "test_sdpa_can_dispatch_non_composite_models",
)
class Seq2SeqShaw(Seq2SeqTests, unittest.TestCase):
    config_fields: ClassVar = {"position_encoding": "shaw", "cross_position_encoding": "shaw"}


@leave_out(*_ROPE_ON_ALL)
class Seq2SeqTransformerXL(Seq2SeqTests, unittest.TestCase):
    config_fields: ClassVar = {"position_encoding": "transformer_xl"}


@leave_out(*_ROPE_ON_ALL)
class Seq2SeqT5(Seq2SeqTests, unittest.TestCase):
    config_fields: ClassVar = {"position_encoding": "t5"}


@leave_out(*_ROPE_ON_ALL)
class Seq2SeqAlibi(Seq2SeqTests, unittest.TestCase):
    config_fields: ClassVar = {"position_encoding": "alibi"}


class Seq2SeqRotary(Seq2SeqTests, unittest.TestCase):
    config_fields: ClassVar = {
        "position_encoding": "rotary",
        # Naming `partial_rotary_factor` is what makes the suite test it.
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
    }

    def setUp(self):
        super().setUp()
        if "_rope_" in self._testMethodName:
            # These tests set the rope type in `config.get_text_config(decoder=True)`, then build the model
            # from `config`. Where one config describes both stacks the first is a copy: make them one.
            self.enterContext(mock.patch.object(LocantConfig, "get_text_config", lambda config, **_: config))
