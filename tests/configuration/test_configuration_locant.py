# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Every choice is checked where it is given, and survives being saved."""

import json
import logging

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from locant.configuration import LocantConfig
from locant.configuration.position_encodings import POSITION_ENCODINGS
from locant.modeling.modeling_locant import LocantForConditionalGeneration
from locant.modeling.modeling_locant_decoder import LocantForCausalLM
from locant.modeling.modeling_locant_encoder import LocantEncoderModel

UNUSUAL = {
    "width 100": {"d_model": 100, "encoder_attention_heads": 4, "decoder_attention_heads": 5},
    "a feed-forward narrower than the model": {"encoder_ffn_dim": 7, "decoder_ffn_dim": 1},
    "an odd width": {"d_model": 33, "encoder_attention_heads": 3, "decoder_attention_heads": 1},
    "heads that do not fill the width": {"head_dim": 6, "encoder_attention_heads": 3, "decoder_attention_heads": 7},
    "odd heads without rotary": {"d_model": 20, "position_encoding": "learned"},
    "one layer and two": {"encoder_layers": 1, "decoder_layers": 2},
    "one key-value head": {"encoder_key_value_heads": 1, "decoder_key_value_heads": 2},
    "rotary in one stack": {"decoder_position_encoding": "rotary", "encoder_attention_heads": 32},
    "another encoding everywhere": {
        "position_encoding": "t5",
        "decoder_position_encoding": "alibi",
        "cross_position_encoding": "shaw",
        "decoder_attention_heads": 1,
    },
    "heads that are no power of two": {"d_model": 36, "encoder_attention_heads": 3, "position_encoding": "alibi"},
    "an odd width with sinusoids of distances": {
        "d_model": 33,
        "encoder_attention_heads": 3,
        "decoder_attention_heads": 1,
        "position_encoding": "transformer_xl",
    },
    "layers that slide and layers that do not": {
        "sliding_window": 2,
        "decoder_layers": 2,
        "decoder_layer_types": ["full_attention", "sliding_attention"],
    },
    "rotary on a part": {
        "position_encoding": "rotary",
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    },
}


def small(**fields):
    shape = {"vocab_size": 20, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "dropout": 0}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    return LocantConfig(**{**shape, **heads, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, **fields})


def message_of(**fields):
    with pytest.raises(StrictDataclassError) as error:
        small(**fields)
    return str(error.value)


class TestDefaults:
    def test_are_the_base_model_of_the_paper(self):
        config = LocantConfig()
        assert (config.d_model, config.encoder_layers, config.decoder_layers) == (512, 6, 6)
        assert (config.encoder_attention_heads, config.decoder_attention_heads) == (8, 8)
        assert (config.encoder_ffn_dim, config.decoder_ffn_dim, config.dropout) == (2048, 2048, 0.1)
        assert (config.position_encoding, config.norm_position, config.activation_function) == (
            "sinusoidal",
            "post",
            "relu",
        )
        assert config.scale_embedding
        assert config.tie_word_embeddings
        assert config.share_encoder_decoder_embeddings
        assert config.label_smoothing == 0

    def test_are_silent(self, caplog):
        with caplog.at_level(logging.WARNING):
            LocantConfig()
        assert not caplog.records

    def test_decoder_encoding_is_the_encoders(self):
        assert small(position_encoding="rotary").position_encoding_at("decoder") == "rotary"
        config = small(position_encoding="rotary", decoder_position_encoding="none")
        assert [config.position_encoding_at(place) for place in ("encoder", "decoder")] == ["rotary", "none"]
        config = small()
        config.position_encoding = "t5"
        assert config.position_encoding_at("decoder") == "t5"
        assert small().cross_position_encoding == "none"

    def test_names_of_other_models_work(self):
        config = small(hidden_size=64, num_attention_heads=2, num_hidden_layers=3)
        assert (config.d_model, config.encoder_attention_heads, config.encoder_layers) == (64, 2, 3)
        assert (config.hidden_size, config.num_attention_heads, config.num_hidden_layers) == (64, 2, 3)

    @pytest.mark.parametrize(("stack", "fields"), [("encoder", {}), ("decoder", {"is_decoder": True})])
    def test_names_of_other_models_are_checked_as_ours(self, stack, fields):
        with pytest.raises(StrictDataclassError, match=f"{stack}_layers"):
            small(num_hidden_layers=-1, **fields)
        with pytest.raises(StrictDataclassError, match="d_model"):
            small(**fields).hidden_size = "64"


class TestShapes:
    @pytest.mark.parametrize("fields", UNUSUAL.values(), ids=UNUSUAL)
    def test_unusual_ones_are_legal_and_run(self, fields):
        model = LocantForConditionalGeneration(small(**fields)).eval()
        ids = torch.tensor([[5, 6, 7], [8, 9, 2]])
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        assert loss.isfinite()
        still = [name for name, weight in model.named_parameters() if not weight.grad.abs().max() > 1e-7]
        assert all(name.endswith("k_proj.bias") for name in still)  # which the softmax does not depend on
        assert model.generate(ids, max_new_tokens=3, num_beams=2).shape[0] == 2

    def test_head_sizes(self):
        config = small(decoder_attention_heads=2)
        assert [config.head_dim_at(place) for place in ("encoder", "decoder", "cross")] == [8, 16, 16]
        assert small(head_dim=5).head_dim_at("encoder") == 5

    def test_heads_of_cross_attention_are_the_decoders(self):
        config = small(decoder_attention_heads=2)
        assert [config.heads_at(place) for place in ("encoder", "decoder", "cross")] == [4, 2, 2]


class TestChecks:
    @pytest.mark.parametrize("stack", ["encoder", "decoder"])
    def test_heads_divide_the_width(self, stack):
        assert (
            f"{stack}_attention_heads=5 does not divide d_model=32: choose a divisor, or give head_dim."
            in message_of(**{f"{stack}_attention_heads": 5})
        )

    @pytest.mark.parametrize("stack", ["encoder", "decoder"])
    def test_key_value_heads_divide_the_heads(self, stack):
        message = message_of(**{f"{stack}_key_value_heads": 3})
        assert f"{stack}_key_value_heads=3 does not divide {stack}_attention_heads=4: choose a divisor." in message

    @pytest.mark.parametrize(
        ("fields", "stack", "size"),
        [
            ({"position_encoding": "rotary", "head_dim": 5}, "encoder", 5),
            ({"position_encoding": "rotary", "d_model": 20, "decoder_attention_heads": 2}, "encoder", 5),
            ({"position_encoding": "rotary", "d_model": 20, "encoder_attention_heads": 2}, "decoder", 5),
            ({"decoder_position_encoding": "rotary", "d_model": 28}, "decoder", 7),
        ],
    )
    def test_rotary_heads_are_even(self, fields, stack, size):
        message = message_of(**fields)
        assert (
            f"must have a positive even size, but in the {stack} its size is {size}: change d_model, "
            f"{stack}_attention_heads" in message
        )

    @pytest.mark.parametrize("share", [0.375, 0.1])
    def test_the_turned_part_of_a_head_is_even(self, share):
        parameters = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": share}
        message = message_of(position_encoding="rotary", rope_parameters=parameters)
        assert f"in the encoder its size is {int(8 * share)}:" in message

    def test_the_callers_dictionary_of_rope_parameters_stays_as_it_is(self):
        rope = {
            "rope_type": "llama3",
            "rope_theta": 5e5,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
        }
        given = dict(rope)
        for length in (1024, 8192):
            config = LocantConfig(position_encoding="rotary", rope_parameters=given, max_position_embeddings=length)
            assert config.rope_parameters["original_max_position_embeddings"] == length
        assert given == rope

    def test_rope_type_exists(self):
        message = message_of(position_encoding="rotary", rope_parameters={"rope_type": "yearn", "rope_theta": 1e4})
        assert "rope_type='yearn' is not a rope type: choose one of default, linear, dynamic, yarn" in message

    @pytest.mark.parametrize("field", ["dropout", "attention_dropout", "activation_dropout", "label_smoothing"])
    @pytest.mark.parametrize("value", [-0.1, 1.0, 1, 7])
    def test_probabilities(self, field, value):
        message = message_of(**{field: value})
        assert field in message
        assert f"must be at least 0 and below 1, got {value}." in message

    @pytest.mark.parametrize(
        "field",
        [
            "vocab_size",
            "d_model",
            "encoder_layers",
            "decoder_layers",
            "encoder_attention_heads",
            "decoder_attention_heads",
            "encoder_key_value_heads",
            "decoder_key_value_heads",
            "head_dim",
            "encoder_ffn_dim",
            "decoder_ffn_dim",
            "max_position_embeddings",
            "sliding_window",
        ],
    )
    @pytest.mark.parametrize("value", [0, -3])
    def test_sizes(self, field, value):
        message = message_of(**{field: value})
        assert field in message
        assert f"must be at least 1, got {value}." in message

    @pytest.mark.parametrize("field", ["norm_eps", "initializer_range"])
    def test_positive_numbers(self, field):
        message = message_of(**{field: 0.0})
        assert field in message
        assert "must be above 0, got 0.0." in message

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("norm_type", "batchnorm"),
            ("norm_position", "middle"),
            ("initializer", "ones"),
            ("d_model", 32.5),
            ("d_model", "32"),
            ("dropout", "0.1"),
            ("gated_ffn", "yes"),
            ("rope_parameters", "yarn"),
            ("position_encoding", 3),
        ],
    )
    def test_kinds(self, field, value):
        message = message_of(**{field: value})
        assert field in message
        assert repr(value) in message or str(value) in message

    def test_activation_exists(self):
        message = message_of(activation_function="reluu")
        assert "activation_function" in message
        assert "'reluu' is not an activation: choose one of " in message
        assert "relu," in message

    @pytest.mark.parametrize("field", ["dropout", "d_model"])
    def test_holds_for_later_assignments_too(self, field):
        config = small()
        with pytest.raises(StrictDataclassError, match=field):
            setattr(config, field, -1)


class TestKindsOfAttention:
    def test_cross_attention_has_the_heads_of_the_decoder(self):
        config = small(encoder_attention_heads=4, decoder_attention_heads=8, encoder_key_value_heads=1)
        config.decoder_key_value_heads = 2
        kinds = ("encoder", "decoder", "cross")
        assert [config.heads_at(kind) for kind in kinds] == [4, 8, 8]
        assert [config.key_value_heads_at(kind) for kind in kinds] == [1, 2, 2]
        config.decoder_key_value_heads = None
        assert config.key_value_heads_at("cross") == 8


class TestPositionEncodings:
    FIELDS = pytest.mark.parametrize(
        "field", ["position_encoding", "decoder_position_encoding", "cross_position_encoding"]
    )

    @FIELDS
    def test_unknown_one_lists_the_known(self, field):
        message = message_of(**{field: "quaternion"})
        known = ", ".join(POSITION_ENCODINGS)
        assert (
            f"{field}: 'quaternion' is not a position encoding; the position encodings are {known}: register" in message
        )

    @pytest.mark.parametrize(
        ("theirs", "ours"),
        [
            ("rope", "rotary"),
            ("RoPE", "rotary"),
            ("absolute", "learned"),
            ("learnable", "learned"),
            ("sine", "sinusoidal"),
            ("fixed", "sinusoidal"),
            ("nope", "none"),
            ("relative_key", "shaw"),
            ("relative-key-query", "shaw"),
            ("xl", "transformer_xl"),
            ("xlnet", "transformer_xl"),
            ("relative", "t5"),
            ("bloom", "alibi"),
            ("mpt", "alibi"),
        ],
    )
    def test_names_from_elsewhere_are_translated(self, theirs, ours):
        assert f'the name of {theirs!r} in Locant is "{ours}"' in message_of(position_encoding=theirs)

    @pytest.mark.parametrize(
        ("typed", "meant"), [("rotery", "rotary"), ("sinusodial", "sinusoidal"), ("Learned", "learned")]
    )
    def test_typing_errors_get_the_nearest(self, typed, meant):
        assert f'did you mean "{meant}"' in message_of(position_encoding=typed)

    @pytest.mark.parametrize("name", ["sinusoidal", "learned"])
    def test_cross_attention_has_no_embeddings_to_add_to(self, name):
        message = message_of(cross_position_encoding=name)
        assert (
            f"cross_position_encoding={name!r} is added to the embeddings, but cross-attention has no embeddings: "
            f"choose one of none, shaw, transformer_xl, t5, alibi, rotary." in message
        )

    def test_each_attention_has_its_own(self):
        config = small(
            position_encoding="alibi", decoder_position_encoding="rotary", cross_position_encoding="transformer_xl"
        )
        names = [config.position_encoding_at(place) for place in ("encoder", "decoder", "cross")]
        assert names == ["alibi", "rotary", "transformer_xl"]

    def test_rotary_in_cross_attention_needs_even_heads_too(self):
        message = message_of(cross_position_encoding="rotary", d_model=28)
        assert "in the decoder its size is 7: change d_model, decoder_attention_heads, head_dim or partial" in message

    @pytest.mark.parametrize(
        ("name", "defaults", "chosen"),
        [
            ("none", {}, {}),
            ("sinusoidal", {"layout": "interleaved"}, {"layout": "concatenated"}),
            ("learned", {"offset": 0}, {"offset": 2}),
            ("shaw", {"max_distance": 16, "values": True}, {"values": False}),
            ("transformer_xl", {}, {}),
            ("t5", {"num_buckets": 32, "max_distance": 128}, {"num_buckets": 64}),
            ("alibi", {"max_bias": 8.0}, {"max_bias": 4}),
            ("rotary", {"pairing": "halves"}, {"pairing": "interleaved"}),
        ],
    )
    def test_options_have_defaults(self, name, defaults, chosen):
        assert small().position_options(name) == defaults
        assert small(position_parameters={name: chosen}).position_options(name) == {**defaults, **chosen}

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"sinusoid": {}}, "position_parameters: 'sinusoid' is not a position encoding"),
            ({"sinusoidal": {"base": 3}}, "has no option 'base'; the options of sinusoidal are: layout."),
            ({"transformer_xl": {"u": 3}}, "has no option 'u'; the options of transformer_xl are: none."),
            ({"sinusoidal": "concatenated"}, "must be a dictionary of that encoding's options, got 'concatenated'."),
        ],
    )
    def test_names_of_options_are_checked(self, parameters, message):
        assert message in message_of(position_parameters=parameters)

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("sinusoidal", {"layout": "mixed"}, "layout must be one of interleaved, concatenated, got 'mixed'."),
            ("learned", {"offset": -1}, "offset must be a whole number of at least 0, got -1."),
            ("learned", {"offset": 1.5}, "offset must be a whole number of at least 0, got 1.5."),
            ("shaw", {"max_distance": 0}, "max_distance must be a whole number of at least 1, got 0."),
            ("shaw", {"max_distance": True}, "max_distance must be a whole number of at least 1, got True."),
            ("shaw", {"values": 1}, "values must be true or false, got 1."),
            ("t5", {"num_buckets": 2}, "num_buckets must be a whole number of at least 4, got 2."),
            ("t5", {"num_buckets": 30}, "num_buckets must be a multiple of 4, got 30."),
            ("t5", {"max_distance": 16}, "max_distance must be above half of num_buckets=32, got 16: half of"),
            ("alibi", {"max_bias": 0}, "max_bias must be a number above 0 and below 2**127, got 0."),
            ("alibi", {"max_bias": "8"}, "max_bias must be a number above 0 and below 2**127, got '8'."),
            ("rotary", {"pairing": "thirds"}, "pairing must be one of halves, interleaved, got 'thirds'."),
        ],
    )
    def test_values_of_options_are_checked(self, name, options, message):
        fields = {"position_encoding": name, "position_parameters": {name: options}}
        assert f"position_parameters[{name!r}]: {message}" in message_of(**fields)

    def test_theta_is_checked(self):
        message = message_of(position_encoding="rotary", rope_parameters={"rope_type": "default", "rope_theta": 0})
        assert "rope_theta must be a number above 0 and below 2**127, got 0." in message

    def test_no_more_than_a_head_can_turn(self):
        parameters = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 1.5}
        message = message_of(position_encoding="rotary", rope_parameters=parameters)
        assert "partial_rotary_factor must be at most 1, got 1.5." in message


class TestWindows:
    def test_all_layers_slide_where_there_is_a_window(self):
        shape = {"encoder_layers": 2, "decoder_layers": 3}
        assert small(**shape).layer_types_of("encoder") == ["full_attention"] * 2
        config = small(sliding_window=4, **shape)
        assert config.layer_types_of("encoder") == ["sliding_attention"] * 2
        assert config.layer_types_of("decoder") == ["sliding_attention"] * 3

    def test_layers_can_be_named_one_by_one(self):
        types = ["full_attention", "sliding_attention"]
        config = small(sliding_window=4, decoder_layers=2, decoder_layer_types=types)
        assert config.layer_types_of("decoder") == types
        assert config.layer_types_of("encoder") == ["sliding_attention"]

    @pytest.mark.parametrize("stack", ["encoder", "decoder"])
    @pytest.mark.parametrize(
        ("types", "window", "message"),
        [
            (["full_attention"] * 2, 4, "_layer_types has 2 types, but {stack}_layers=1: give one for each layer."),
            (["global"], 4, "_layer_types has 'global': a type is full_attention or sliding_attention."),
            (
                ["sliding_attention"],
                None,
                "_layer_types has sliding_attention layers, but sliding_window is None: set sliding_window to the",
            ),
        ],
    )
    def test_layer_types_are_checked(self, stack, types, window, message):
        fields = {f"{stack}_layer_types": types, "sliding_window": window}
        assert stack + message.format(stack=stack) in message_of(**fields)

    def test_a_decoders_window_of_one_token_is_refused(self):
        assert "sliding_window is 1, but the window of a decoder has at least 2 tokens" in message_of(sliding_window=1)
        small(sliding_window=1, decoder_layer_types=["full_attention"])
        small(sliding_window=1, is_encoder_decoder=False)


class TestSaving:
    FIELDS = (
        {},
        {"position_parameters": {"sinusoidal": {"layout": "concatenated"}}, "label_smoothing": 0.1},
        {
            "position_encoding": "rotary",
            "decoder_position_encoding": "none",
            "rope_parameters": {"rope_type": "yarn", "rope_theta": 500.0, "factor": 2.0},
        },
        {"head_dim": 6, "norm_type": "rmsnorm", "norm_position": "pre", "gated_ffn": True, "dropout": 0},
        {"encoder_key_value_heads": 2, "tie_word_embeddings": False, "eos_token_id": [2, 3]},
        {
            "position_encoding": "t5",
            "cross_position_encoding": "alibi",
            "position_parameters": {"t5": {"num_buckets": 8, "max_distance": 20}, "alibi": {"max_bias": 4.0}},
        },
        {
            "sliding_window": 3,
            "decoder_layers": 2,
            "decoder_layer_types": ["sliding_attention", "full_attention"],
        },
    )

    @pytest.mark.parametrize("fields", FIELDS)
    def test_round_trip(self, fields, tmp_path):
        config = small(**fields)
        config.save_pretrained(tmp_path)
        for loaded in (LocantConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
            assert type(loaded) is LocantConfig
            assert {**loaded.to_dict(), "_name_or_path": ""} == config.to_dict()
        again = LocantConfig.from_dict(json.loads(config.to_json_string(use_diff=False)))
        assert again.to_dict() == config.to_dict()

    @pytest.mark.parametrize("saved", [{}, {"decoder_position_encoding": "none"}])
    @pytest.mark.parametrize("given", [{}, {"decoder_position_encoding": "alibi"}])
    def test_another_encoding_on_loading_is_for_both_stacks(self, tmp_path, saved, given):
        small(**saved).save_pretrained(tmp_path)
        loaded = LocantConfig.from_pretrained(tmp_path, position_encoding="rotary", **given)
        names = [loaded.position_encoding_at(place) for place in ("encoder", "decoder")]
        assert names == ["rotary", given.get("decoder_position_encoding", "rotary")]
        assert loaded.rope_parameters is not None

    def test_caches_are_made_by_the_decoders_layers(self):
        types = ["full_attention", "sliding_attention", "full_attention"]
        config = small(encoder_layers=1, decoder_layers=3, sliding_window=4, decoder_layer_types=types)
        text = config.get_text_config(decoder=True)
        assert (text.num_hidden_layers, text.layer_types, text.is_encoder_decoder) == (3, types, True)
        assert config.get_text_config() is config
        assert (config.num_hidden_layers, config.layer_types) == (1, ["sliding_attention"])

    @pytest.mark.parametrize("rope_type", ["dynamic", "longrope"])
    def test_rope_types_by_length_are_refused_across(self, rope_type):
        parameters = {"rope_type": rope_type, "rope_theta": 1e4, "factor": 2.0}
        parameters |= {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4} if rope_type == "longrope" else {}
        small(position_encoding="rotary", rope_parameters=parameters)
        with pytest.raises(StrictDataclassError, match=f"{rope_type}.* computes frequencies from the larg"):
            small(cross_position_encoding="rotary", rope_parameters=parameters)

    @pytest.mark.parametrize("value", ["2", True, 0, float("nan")])
    @pytest.mark.parametrize("name", ["factor", "rope_theta", "partial_rotary_factor"])
    def test_rope_numbers_are_numbers(self, name, value):
        parameters = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0, name: value}
        with pytest.raises(StrictDataclassError, match=f"{name} must be a number above 0 and .*, got {value!r}"):
            small(position_encoding="rotary", rope_parameters=parameters)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), 0, "8"])
    def test_alibis_bias_is_a_number(self, value):
        with pytest.raises(StrictDataclassError, match="max_bias must be a number above 0"):
            small(position_encoding="alibi", position_parameters={"alibi": {"max_bias": value}})

    def test_file_names_the_type(self, tmp_path):
        small().save_pretrained(tmp_path)
        saved = json.loads((tmp_path / "config.json").read_text())
        assert saved["model_type"] == "locant"
        assert saved["d_model"] == 32

    def test_a_broken_file_is_refused(self, tmp_path):
        small().save_pretrained(tmp_path)
        path = tmp_path / "config.json"
        path.write_text(path.read_text().replace('"dropout": 0', '"dropout": -1'))
        with pytest.raises(StrictDataclassError, match="dropout"):
            LocantConfig.from_pretrained(tmp_path)


STACKS = {
    "encoder": {"layers": 3, "attention_heads": 4, "key_value_heads": 2, "ffn_dim": 24},
    "decoder": {"layers": 1, "attention_heads": 2, "key_value_heads": 1, "ffn_dim": 48},
}
TWO_SHAPES = {f"{stack}_{name}": value for stack, fields in STACKS.items() for name, value in fields.items()}
ONE_STACK = {"encoder": {"is_encoder_decoder": False}, "decoder": {"is_decoder": True}}


def common_names(config):
    """What code outside reads, in the way in which it often does."""
    names = ["hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim"]
    return {name: getattr(config, name, "default") for name in [*names, "intermediate_size", "layer_types"]}


def expected_names(stack, d_model=32, **changed):
    fields = {**STACKS[stack], **changed}
    return {
        "hidden_size": d_model,
        "num_hidden_layers": fields["layers"],
        "num_attention_heads": fields["attention_heads"],
        "num_key_value_heads": fields["key_value_heads"],
        "head_dim": fields.get("head_dim", d_model // fields["attention_heads"]),
        "intermediate_size": fields["ffn_dim"],
        "layer_types": ["full_attention"] * fields["layers"],
    }


class TestTheEcosystemsNames:
    """Each common name reads as what the stack is built with, and never as None."""

    @pytest.mark.parametrize("stack", ["encoder", "decoder"])
    def test_each_stack_of_a_model_of_two(self, stack, tmp_path):
        config = LocantConfig(d_model=32, **TWO_SHAPES)
        config.save_pretrained(tmp_path)
        for same in (config, LocantConfig.from_pretrained(tmp_path)):
            assert common_names(same) == expected_names("encoder")
            assert common_names(same.get_text_config(**{stack: True})) == expected_names(stack)

    @pytest.mark.parametrize("stack", ["encoder", "decoder"])
    def test_a_stack_alone(self, stack, tmp_path):
        config = LocantConfig(d_model=32, **TWO_SHAPES, **ONE_STACK[stack])
        config.save_pretrained(tmp_path)
        for same in (config, LocantConfig.from_pretrained(tmp_path)):
            for part in (same, same.get_text_config(decoder=True), same.get_text_config(encoder=True)):
                assert common_names(part) == expected_names(stack)

    @pytest.mark.parametrize("stack", ["encoder", "decoder"])
    def test_after_a_field_was_changed(self, stack):
        config = LocantConfig(d_model=32, **TWO_SHAPES)
        config.d_model = 64
        assert common_names(config.get_text_config(**{stack: True})) == expected_names(stack, d_model=64)
        config.head_dim = 6
        assert config.get_text_config(**{stack: True}).head_dim == 6
        setattr(config, f"{stack}_key_value_heads", None)
        assert config.get_text_config(**{stack: True}).num_key_value_heads == STACKS[stack]["attention_heads"]

    def test_of_a_preset(self):
        config = LocantConfig.from_preset("iwslt")
        assert (config.head_dim, config.num_key_value_heads, config.num_hidden_layers) == (128, 4, 6)

    def test_a_default_that_follows_other_fields_is_not_stored(self):
        assert (LocantConfig().to_dict()["head_dim"], LocantConfig(head_dim=6).to_dict()["head_dim"]) == (None, 6)
        assert "num_key_value_heads" not in LocantConfig().to_dict()

    def test_a_model_has_as_many_layers_as_the_common_name_says(self):
        config = small(num_hidden_layers=3)
        assert len(LocantForCausalLM(config).model.decoder.layers) == 3
        assert len(LocantEncoderModel(config).encoder.layers) == 3

    @pytest.mark.parametrize("stack", ["encoder", "decoder"])
    def test_setting_one_in_a_stack_alone_leaves_the_others_fields(self, stack):
        other = {"encoder": "decoder", "decoder": "encoder"}[stack]
        config = LocantConfig(d_model=32, **TWO_SHAPES, **ONE_STACK[stack])
        config.num_attention_heads = 8
        assert getattr(config, f"{stack}_attention_heads") == 8
        assert getattr(config, f"{other}_attention_heads") == STACKS[other]["attention_heads"]

    def test_setting_one_for_two_stacks_that_differ_is_refused(self):
        with pytest.raises(ValueError, match="encoder_layers and decoder_layers, but their values differ: set"):
            small(encoder_layers=2, decoder_layers=1, num_hidden_layers=3)

    @pytest.mark.parametrize("name", ["num_hidden_layers", "num_key_value_heads", "hidden_size"])
    def test_they_are_checked_as_the_fields_are(self, name):
        with pytest.raises(StrictDataclassError, match="must be at least 1, got 0"):
            small(**{name: 0})


class TestUnknownFields:
    @pytest.mark.parametrize(
        ("name", "hint"),
        [("vocab_sise", ": did you mean vocab_size?"), ("num_hiden_layers", ": did you mean num_hidden_layers?")],
    )
    def test_a_misspelt_field_is_kept_with_a_warning(self, caplog, name, hint):
        config = LocantConfig.from_preset("tiny", **{name: 64})
        assert config.to_dict()[name] == 64
        assert [record.getMessage() for record in caplog.records] == [
            f"LocantConfig has no field {name!r}, and no model reads it{hint}"
        ]

    def test_what_transformers_writes_into_configs_is_no_unknown_field(self, caplog, tmp_path):
        model = LocantForConditionalGeneration(small())
        model.config.custom_pipelines = {"translation": {"impl": "X", "pt": "AutoModelForSeq2SeqLM"}}
        model.save_pretrained(tmp_path)
        LocantConfig.from_pretrained(tmp_path, attn_implementation="eager", output_attentions=True)
        LocantConfig(num_beams=4, rope_theta=5e5, torch_dtype="bfloat16", num_labels=3, tokenizer_class="X")
        assert [record.getMessage() for record in caplog.records] == []
