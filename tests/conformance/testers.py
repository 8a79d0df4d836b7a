# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A small config and a batch for each kind of model, which the suite requires from its caller.

A test class inherits the group of its kind, and names the model classes, the config class and fields of the config.
The name of the test class begins with the kind, by which `run.py` finds the built-in model to compare it with.
"""

import re
import unittest
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, ClassVar

import torch
from hf_suite.generation.test_utils import GenerationTesterMixin
from hf_suite.test_configuration_common import ConfigTester
from hf_suite.test_modeling_common import ModelTesterMixin
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, set_seed
from transformers.models.auto import modeling_auto

Inputs = dict[str, torch.Tensor]


class Tester:
    """A small config and a batch of token ids for it; the suite reads the sizes from the attributes.

    Args:
        config_class: the class of the config.
        config_fields: the fields of this class for the sizes below, and any other fields.
    """

    batch_size = 13
    seq_length = 7
    hidden_size = 32
    num_hidden_layers = 2
    num_attention_heads = 4
    vocab_size = 99
    pad_token_id, bos_token_id, eos_token_id = 0, 1, 2
    is_training = True

    def __init__(self, config_class: type[PreTrainedConfig], config_fields: dict[str, Any]):
        self.config_class = config_class
        self.config_fields = config_fields

    def get_config(self) -> PreTrainedConfig:
        """The config, the same for each model of a test class."""
        return self.config_class(**{**self.common_fields(), **self.config_fields})

    def common_fields(self) -> dict[str, Any]:
        """Fields that all config classes name alike."""
        names = ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id")
        return {name: getattr(self, name) for name in names} | {"max_position_embeddings": 20}

    def prepare_config_and_inputs_for_common(self) -> tuple[PreTrainedConfig, Inputs]:
        """The config, and the inputs that all models of a test class accept."""
        return self.get_config(), self.inputs()

    def inputs(self) -> Inputs:
        """Random sentences; every third sentence is two tokens shorter, and padded."""
        input_ids, attention_mask = self.random_ids(), self.ones()
        input_ids[::3, -2:] = self.pad_token_id
        attention_mask[::3, -2:] = 0
        return dict(input_ids=input_ids, attention_mask=attention_mask)

    def random_ids(self) -> torch.Tensor:
        """Ids that are not special, `(batch, length)`."""
        return torch.randint(3, self.vocab_size, (self.batch_size, self.seq_length))

    def ones(self) -> torch.Tensor:
        """A mask `(batch, length)` without padding."""
        return torch.ones(self.batch_size, self.seq_length, dtype=torch.long)


class Seq2SeqTester(Tester):
    """A config and a batch for an encoder–decoder: source and target sentences."""

    # Source and target have one length: the suite uses the source's mask for the target, and makes labels this long.
    encoder_seq_length = decoder_seq_length = Tester.seq_length

    def common_fields(self) -> dict[str, Any]:
        return {**super().common_fields(), "decoder_start_token_id": self.bos_token_id}

    def inputs(self) -> Inputs:
        source = super().inputs()
        decoder_attention_mask = source["attention_mask"].clone()
        return dict(**source, decoder_input_ids=self.random_ids(), decoder_attention_mask=decoder_attention_mask)


class ImageTester(Tester):
    """Images of 2 × 3 patches, with a class token in front unless the config's `pooling` is the mean."""

    image_size = (8, 12)
    patch_size = 4
    num_channels = 3
    mask_length, num_masks = 6, 2  # of the patches that ViT can hide

    def __init__(self, config_class: type[PreTrainedConfig], config_fields: dict[str, Any]):
        super().__init__(config_class, config_fields)
        self.seq_length = 6 if config_fields.get("pooling") == "mean" else 7

    def common_fields(self) -> dict[str, Any]:
        return dict(image_size=self.image_size, patch_size=self.patch_size, num_channels=self.num_channels)

    def inputs(self) -> Inputs:
        return dict(pixel_values=torch.rand(self.batch_size, self.num_channels, *self.image_size))


class ImageToTextTester(Seq2SeqTester):
    """A config and a batch for an image-to-text model: images and target sentences."""

    def __init__(self, config_class: type[PreTrainedConfig], config_fields: dict[str, Any]):
        super().__init__(config_class, config_fields)
        self.images = ImageTester(config_class, config_fields)
        self.encoder_seq_length = self.images.seq_length

    def common_fields(self) -> dict[str, Any]:
        return {**super().common_fields(), **self.images.common_fields()}

    def inputs(self) -> Inputs:
        target = dict(decoder_input_ids=self.random_ids(), decoder_attention_mask=self.ones())
        return WithoutSource({**self.images.inputs(), **target})


class WithoutSource(dict[str, torch.Tensor]):
    """Inputs that return `decoder_input_ids` for `input_ids`, which the suite reads when it resizes embeddings."""

    def __missing__(self, name: str) -> torch.Tensor:
        if name == "input_ids":
            return self["decoder_input_ids"]
        raise KeyError(name)


class SuiteTests(ModelTesterMixin):
    """All tests of the suite, on `all_model_classes`, with a config of `config_class`.

    The config has the fields `config_fields` of the group, and the fields `position` of the test class.
    """

    model_tester_class: ClassVar[type[Tester]] = Tester
    config_class: ClassVar[type[PreTrainedConfig]]
    config_fields: ClassVar[dict[str, Any]]
    position: ClassVar[dict[str, Any]] = {}

    def setUp(self):
        super().setUp()
        set_seed(0)
        fields = {**self.config_fields, **self.position}
        has_text = self.model_tester_class is not ImageTester
        self.model_tester = self.model_tester_class(self.config_class, fields)
        self.config_tester = ConfigTester(self, self.config_class, has_text_modality=has_text, **fields)

    def test_config(self):
        self.config_tester.run_common_tests()


class Seq2SeqTests(SuiteTests, GenerationTesterMixin):
    """Encoder–decoders of tokens."""

    model_tester_class = Seq2SeqTester
    is_encoder_decoder = True


class TextEncoderTests(SuiteTests):
    """Encoders of tokens, and their heads."""


class DecoderTests(SuiteTests, GenerationTesterMixin):
    """Decoders alone, and their heads."""


class ImageTests(SuiteTests):
    """Encoders of images, and their heads."""

    model_tester_class = ImageTester
    test_resize_embeddings = False  # there are no token embeddings

    def test_model_get_set_embeddings(self):
        """Like the suite's test, but the module that embeds patches is not an `nn.Embedding`."""
        for model_class in self.all_model_classes:
            model = model_class(self.model_tester.get_config())
            self.assertIsInstance(model.get_input_embeddings(), nn.Module)
            self.assertIsNone(model.get_output_embeddings())

    def _prepare_for_class(self, inputs_dict: Inputs, *args: Any, **kwargs: Any) -> Inputs:
        """The suite's inputs without the mask that it adds if `forward` takes a mask: no patch is padding."""
        inputs = super()._prepare_for_class(inputs_dict, *args, **kwargs)
        inputs.pop("attention_mask", None)
        return inputs


class ImageToTextTests(SuiteTests, GenerationTesterMixin):
    """Encoder–decoders from images to tokens."""

    model_tester_class = ImageToTextTester
    is_encoder_decoder = True

    def test_inputs_embeds_matches_input_ids(self):
        """Like the suite's test, for the target alone."""
        for model_class in self.all_model_classes:
            config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
            inputs = self._prepare_for_class(inputs, model_class)
            model = model_class(config).eval()
            with torch.no_grad():
                by_ids = model(**inputs)[0]
                embeds = model.get_input_embeddings()(inputs.pop("decoder_input_ids"))
                torch.testing.assert_close(model(**inputs, decoder_inputs_embeds=embeds)[0], by_ids)


def enter_name(table: str, *model_classes: type[PreTrainedModel]) -> None:
    """Add classes to a name table of `modeling_auto`.

    From these tables, the suite knows which classes have no loss, and which labels a class takes.
    """
    names = getattr(modeling_auto, table)
    model_type = model_classes[0].config_class.model_type
    known = names.get(model_type, ())
    known = (known,) if isinstance(known, str) else tuple(known)
    names[model_type] = tuple(dict.fromkeys([*known, *(model_class.__name__ for model_class in model_classes)]))


def leave_out(reason: str, *tests: str) -> Callable[[type], type]:
    """Class decorator: skip `tests` of the suite, and their parametrised variants, for `reason`.

    Raises:
        LookupError: the suite has no such test, so the line that leaves it out is out of date.
    """

    def decorate(test_class: type) -> type:
        for test in tests:
            # a test with variants has no method under its own name
            names = [name for name in dir(test_class) if re.fullmatch(rf"{test}(_\d+_\w+)?", name)]
            variants = [name for name in names if callable(getattr(test_class, name))]
            if not variants:
                raise LookupError(f"the suite has no test {test!r} to leave out of {test_class.__name__}")
            for name in variants:
                setattr(test_class, name, unittest.skip(reason=f"not for Locant: {reason}")(getattr(test_class, name)))
        return test_class

    return decorate


def check_all_tested(package: ModuleType, base: type, test_classes: Iterable[Any]) -> None:
    """Raise `LookupError` if a model of `package`, a subclass of `base`, is in no `all_model_classes`."""
    tested = {model for test_class in test_classes for model in getattr(test_class, "all_model_classes", ())}
    public = [getattr(package, name) for name in package.__all__]
    models = {value for value in public if isinstance(value, type) and issubclass(value, base) and value is not base}
    if models - tested:
        missing = ", ".join(sorted(model.__name__ for model in models - tested))
        raise LookupError(f"no test class has {missing} among its all_model_classes")
