# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The same tests on the built-in Marian, for comparison."""

import unittest

from hf_suite.generation.test_utils import GenerationTesterMixin
from hf_suite.test_configuration_common import ConfigTester
from hf_suite.test_modeling_common import ModelTesterMixin
from testers import Seq2SeqTester
from transformers import MarianConfig, MarianModel, MarianMTModel, set_seed


class Marian(ModelTesterMixin, GenerationTesterMixin, unittest.TestCase):
    all_model_classes = (MarianModel, MarianMTModel)
    is_encoder_decoder = True

    def setUp(self):
        super().setUp()
        set_seed(0)
        self.model_tester = Seq2SeqTester(MarianConfig)
        self.config_tester = ConfigTester(self, config_class=MarianConfig, d_model=48)

    def test_config(self):
        self.config_tester.run_common_tests()
