# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Configs that no model can have: each is refused in a sentence that names the field, before memory is taken."""

import json
from functools import partial

import pytest
import torch
from accelerate import init_empty_weights
from huggingface_hub.errors import StrictDataclassError
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoConfig, AutoModel

from locant import LocantConfig, LocantForConditionalGeneration, LocantModel, LocantPreTrainedModel
from locant.checkpoints.model_sizes import check_memory

from ..memory import megabytes_taken

NAN, INFINITY, HUGE = float("nan"), float("inf"), 10**12
ROTARY = {"position_encoding": "rotary"}
PATCHES = {"encoder_input": "patches"}
BROKEN = {
    # sizes
    **{
        f"a huge {name}": ({name: HUGE}, f"{name}.*must be at most")
        for name in (
            "vocab_size",
            "d_model",
            "encoder_layers",
            "decoder_layers",
            "encoder_attention_heads",
            "decoder_attention_heads",
            "decoder_key_value_heads",
            "head_dim",
            "encoder_ffn_dim",
            "decoder_ffn_dim",
            "max_position_embeddings",
            "type_vocab_size",
            "num_channels",
            "sliding_window",
        )
    },
    "an integer of 401 digits": ({"d_model": 10**400}, "d_model.*an integer of more than 24 digits"),
    "3000 layers": ({"encoder_layers": 3000}, "encoder_layers.*must be at most 2048"),
    "a huge width by another name": ({"hidden_size": HUGE}, "d_model.*must be at most"),
    "a huge offset": (
        {"position_encoding": "learned", "position_parameters": {"learned": {"offset": HUGE}}},
        "offset must be at most",
    ),
    "huge buckets": (
        {"position_encoding": "t5", "position_parameters": {"t5": {"num_buckets": HUGE, "max_distance": 10 * HUGE}}},
        "num_buckets must be at most",
    ),
    "a huge image": ({**PATCHES, "image_size": HUGE, "patch_size": 10**6}, "image_size.*from 1 to 1048576"),
    "huge num_labels": ({"num_labels": 10**10}, "num_labels must be a whole number from 0 to 1048576"),
    # types
    "text for a number": ({"d_model": "512"}, "d_model.*expected int, got str"),
    "text for a number of labels": ({"num_labels": "3"}, "num_labels must be a whole number"),
    "a fraction": ({"d_model": 512.5}, "d_model.*expected int, got float"),
    "a truth value": ({"d_model": True}, "d_model.*expected int, got bool"),
    "null": ({"d_model": None}, "d_model.*expected int, got NoneType"),
    "a list": ({"encoder_layers": [6]}, "encoder_layers.*expected int, got list"),
    "a dictionary": ({"vocab_size": {"a": 1}}, "vocab_size.*expected int, got dict"),
    "text for a truth value": ({"is_encoder_decoder": "yes"}, "is_encoder_decoder.*expected bool, got str"),
    "labels in a list": ({"id2label": ["a", "b"]}, "id2label must be a dictionary of class numbers"),
    "labels that are no numbers": ({"id2label": {"a": "b"}}, "id2label must be .* class numbers .*, got 'a'"),
    "labels without names": ({"id2label": {"0": None}}, "id2label must be .* class numbers .*, got '0': None"),
    "no such dtype": ({"dtype": "floatx"}, "dtype must be a torch dtype.*'floatx'"),
    "a function for a dtype": ({"dtype": "load"}, "dtype must be a torch dtype.*'load'"),
    "layer types as text": ({"encoder_layer_types": "full_attention"}, "encoder_layer_types.*got str"),
    "nested layer types": ({"encoder_layer_types": [[], {}]}, "encoder_layer_types.*Invalid item"),
    "layer types of another depth": (
        {"encoder_layer_types": ["full_attention"]},
        "has 1 types, but encoder_layers=6",
    ),
    # numbers
    "a negative size": ({"d_model": -512}, "d_model.*must be at least 1, got -512"),
    "NaN for a size": ({"d_model": NAN}, "d_model.*expected int, got float"),
    "NaN for an epsilon": ({"norm_eps": NAN}, "norm_eps.*must be above 0, got nan"),
    "an infinite epsilon": ({"norm_eps": INFINITY}, "norm_eps.*must be finite"),
    "an infinite deviation": ({"initializer_range": INFINITY}, "initializer_range.*must be finite"),
    "NaN for a dropout": ({"dropout": NAN}, "dropout.*below 1, got nan"),
    "a negative token": ({"pad_token_id": -1}, "pad_token_id=-1 is not in the vocabulary, whose ids are 0 to 31999"),
    "a token beyond the vocabulary": (
        {"decoder_start_token_id": 32000},
        "decoder_start_token_id=32000 is not in the v",
    ),
    "padding beyond the vocabulary": ({"pad_token_id": 10**9}, "pad_token_id=1000000000 is not in the vocabulary"),
    "one of several ends": ({"eos_token_id": [2, -7]}, "eos_token_id=-7 is not in the vocabulary"),
    # encodings
    "no such encoding": ({"position_encoding": "warp"}, "position_encoding: 'warp' is not a position encoding"),
    "parameters in a list": ({"position_parameters": [1]}, "position_parameters.*got list"),
    "parameters that are null": ({"position_parameters": {"t5": None}}, r"position_parameters\['t5'\] must be a dict"),
    "parameters of none": ({"position_parameters": {"warp": {}}}, "position_parameters: 'warp' is not a position en"),
    "text for buckets": (
        {"position_encoding": "t5", "position_parameters": {"t5": {"num_buckets": "x"}}},
        "num_buckets must be a whole number of at least 4, got 'x'",
    ),
    "a slope beyond float32": (
        {"position_encoding": "alibi", "position_parameters": {"alibi": {"max_bias": 10**400}}},
        "max_bias must be a number above 0 and .*, got 1000",
    ),
    "rope parameters as text": ({**ROTARY, "rope_parameters": "x"}, "rope_parameters.*got str"),
    "no such rope type": ({**ROTARY, "rope_parameters": {"rope_type": [], "rope_theta": 1.0}}, "is not a rope type"),
    "NaN for theta": (
        {**ROTARY, "rope_parameters": {"rope_theta": NAN}},
        "rope_theta must be a number above 0 and .*, got nan",
    ),
    "theta beyond float32": (
        {**ROTARY, "rope_parameters": {"rope_theta": 10**400}},
        "rope_theta must be a number above",
    ),
    "parameters by layer type": (
        {
            **ROTARY,
            "rope_parameters": {"sliding_attention": {"rope_theta": 1e4}, "full_attention": {"rope_theta": 1e6}},
        },
        "a dictionary of its own for 'sliding_attention', but all layers have the same",
    ),
    "text among factors": (
        {**ROTARY, "rope_parameters": {"rope_type": "longrope", "rope_theta": 1.0, "short_factor": ["a"]}},
        "short_factor must be a list of numbers above 0",
    ),
    # what takes a method's place
    "a method": ({"to_dict": 3}, "'to_dict' is not a field"),
    "a property": ({"attention_kinds": ["encoder"]}, "'attention_kinds' is not a field"),
    "a class": ({"__class__": "x"}, "'__class__' is not a field"),
    "layers that differ": ({"per_layer_config": {"0": {"d_model": 3}}}, "'per_layer_config' is not a field"),
}


TOO_LARGE_TOGETHER = {
    "sizes that are too large together": (
        {"vocab_size": 4 * 10**9, "d_model": 4096},
        "largest of the sizes is vocab_s",
    ),
    "a huge learned table": (
        {"position_encoding": "learned", "max_position_embeddings": 4 * 10**9, "d_model": 4096},
        "largest of the sizes is max_position_embeddings=4000000000",
    ),
    "huge distances": (
        {
            "position_encoding": "shaw",
            "position_parameters": {"shaw": {"max_distance": 4 * 10**9}},
            "encoder_layers": 99,
        },
        r"largest of the sizes is position_parameters\['shaw'\]\['max_distance'\]",
    ),
    "a huge patch": (
        {**PATCHES, "image_size": 2**20, "patch_size": 2**20},
        "refused: the largest of the sizes is image_",
    ),
    "a huge learned grid": (
        {**PATCHES, "image_size": 2**20, "patch_size": 1, "position_encoding": "learned"},
        "refused: the largest of the sizes is image_size",
    ),
    "patches of more numbers than torch can count": (
        {**PATCHES, "image_size": 2**20, "patch_size": 2**20, "num_channels": 2**22, "d_model": 2**22},
        "has inf parameters.*largest of the sizes is d_model=4194304",
    ),
}


@pytest.mark.parametrize(("fields", "expected"), BROKEN.values(), ids=BROKEN)
def test_is_refused_with_the_name_of_the_field(tmp_path, fields, expected):
    (tmp_path / "config.json").write_text(json.dumps({**LocantConfig().to_dict(), **fields}))

    def refuse():
        for load in (LocantConfig.from_pretrained, AutoConfig.from_pretrained, AutoModel.from_pretrained):
            with pytest.raises((StrictDataclassError, ValueError)) as error:
                load(tmp_path)
            message = str(error.value)
            error.match("(?s)" + expected)
            assert len(message) < 420
            assert message.count("\n") <= 1  # huggingface_hub puts the field before the sentence

    assert megabytes_taken(refuse) < 60
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize(("fields", "expected"), TOO_LARGE_TOGETHER.values(), ids=TOO_LARGE_TOGETHER)
def test_sizes_that_no_machine_holds_are_refused_when_a_model_is_built_or_loaded(tmp_path, fields, expected):
    config = LocantConfig(**fields)
    AutoModel.from_config(LocantConfig(d_model=8, encoder_layers=1, decoder_layers=1)).save_pretrained(tmp_path)
    config.save_pretrained(tmp_path)

    def on_meta():
        with torch.device("meta"):
            AutoModel.from_config(config)

    def refuse():
        loads = [LocantForConditionalGeneration.from_pretrained, AutoModel.from_pretrained]
        for make in (
            lambda: LocantForConditionalGeneration(config),
            on_meta,
            *(partial(load, tmp_path) for load in loads),
        ):
            with pytest.raises(ValueError, match=expected) as error:
                make()
            assert len(str(error.value)) < 300
            assert "\n" not in str(error.value)

    assert megabytes_taken(refuse) < 400  # with what torch needs for itself


@pytest.mark.parametrize("text", ["[]", "3", "null", '"x"', "[" * 100_000, '{"a":' * 100_000])
def test_json_that_is_no_dictionary_is_said_so(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match="is not a JSON object of fields"):
        LocantConfig.from_pretrained(tmp_path)


def test_tokens_that_are_not_fed_may_lie_beyond_the_vocabulary():
    LocantConfig(is_decoder=True, vocab_size=9, bos_token_id=50256, eos_token_id=50256)


def test_many_labels_are_refused_when_they_are_set_later():
    config = LocantConfig()
    with pytest.raises(ValueError, match="num_labels must be a whole number"):
        config.num_labels = 10**10


class TestMemory:
    """Models that a config may describe, and this machine not hold."""

    # 4e11 parameters, which is less than the largest models there are
    FIELDS = {"d_model": 65536, "encoder_ffn_dim": 262144, "decoder_ffn_dim": 262144, "vocab_size": 100}  # noqa: RUF012

    def test_is_refused_with_both_figures(self):
        with pytest.raises(ValueError, match=r"parameters, which take [\d,.]+ GB, and there are [\d,.]+ GB of memory"):
            LocantModel(LocantConfig(**self.FIELDS))

    def test_the_meta_device_holds_any(self):
        with torch.device("meta"):
            model = LocantModel(LocantConfig(**self.FIELDS))
        assert sum(parameter.numel() for parameter in model.parameters()) > 4e11

    def test_so_do_empty_weights(self):
        with init_empty_weights():
            check_memory(10**15)
        with FakeTensorMode():
            check_memory(10**15)
        with pytest.raises(ValueError, match="GB of memory"):
            check_memory(10**15)

    def test_the_check_draws_no_random_numbers(self):
        before = torch.get_rng_state()
        check_memory(10)
        assert torch.equal(torch.get_rng_state(), before)

    def test_without_hooks_it_is_transformers_to_find_out(self, monkeypatch):
        monkeypatch.setattr(LocantPreTrainedModel, "build_hooks", [])
        with torch.device("meta"):
            LocantModel(LocantConfig(vocab_size=4 * 10**9, d_model=4096, encoder_layers=1, decoder_layers=1))

    def test_the_check_leaves_the_weights_that_are_drawn_as_they_were(self, monkeypatch):
        config = LocantConfig(vocab_size=9, d_model=8, encoder_layers=2, decoder_layers=1, position_encoding="shaw")
        torch.manual_seed(0)
        checked = LocantModel(config).state_dict()
        monkeypatch.setattr(LocantPreTrainedModel, "build_hooks", [])
        torch.manual_seed(0)
        plain = LocantModel(config).state_dict()
        assert all(torch.equal(checked[name], plain[name]) for name in plain)


def test_many_positions_cost_nothing_until_they_come():
    config = LocantConfig(d_model=64, max_position_embeddings=4 * 10**9, encoder_layers=1, decoder_layers=1)
    dynamic = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    rotary = LocantConfig(
        d_model=64, max_position_embeddings=4 * 10**9, position_encoding="rotary", rope_parameters=dynamic
    )
    assert megabytes_taken(lambda: (LocantModel(config), LocantModel(rotary))) < 400
