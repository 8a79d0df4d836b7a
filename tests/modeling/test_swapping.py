# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`with_position_encoding`: the weights that a model keeps, drops and initialises, and the warning about them."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModelForSeq2SeqLM
from transformers.utils import logging

from locant.modeling.modeling_locant import LocantForConditionalGeneration
from locant.modeling.modeling_locant_encoder import LocantEncoderModel
from locant.modeling.positions import T5Encoding
from locant.modeling.stacks import LocantEncoder

ENCODINGS = ["none", "sinusoidal", "learned", "shaw", "transformer_xl", "t5", "alibi", "rotary"]
IDS, TARGET = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[1, 9, 10]])


@pytest.fixture
def messages(monkeypatch):
    """The list of logged warnings."""
    said = []
    monkeypatch.setattr(logging.get_logger("locant.modeling.pretrained"), "warning", said.append)
    return said


def of_positions(model):
    """Names of the weights that belong to an encoding."""
    return {name for name in model.state_dict() if ".position." in name or name.startswith("position.")}


@pytest.mark.parametrize("after", ENCODINGS)
@pytest.mark.parametrize("before", ["learned", "transformer_xl"])
class TestSwap:
    def test_all_other_weights_stay(self, make_model, before, after):
        model = make_model(position_encoding=before)
        swapped = model.with_position_encoding(after)
        old, new = model.state_dict(), swapped.state_dict()
        common = set(new) - of_positions(swapped)
        assert common == set(old) - of_positions(model)
        assert all(torch.equal(old[name], new[name]) for name in common)
        assert not any(old[name].data_ptr() == new[name].data_ptr() for name in common)

    def test_it_says_what_it_dropped_and_what_is_new(self, make_model, before, after, messages):
        model = make_model(position_encoding=before)
        swapped, info = model.with_position_encoding(after, output_loading_info=True)
        if before == after:
            assert info["missing_keys"] == info["unexpected_keys"] == {}
        else:
            assert set(info["missing_keys"]) == of_positions(swapped)
            assert set(info["unexpected_keys"]) == of_positions(model)
        (said,) = messages
        for name, shape in {**info["missing_keys"], **info["unexpected_keys"]}.items():
            assert f"{name} {shape}" in said
        assert "dropped weights: none" in said if not info["unexpected_keys"] else "dropped weights: model." in said

    @pytest.mark.sampled(2)
    def test_the_result_is_a_model_made_so_with_those_weights(self, make_model, make_config, before, after):
        swapped = make_model(position_encoding=before).with_position_encoding(after)
        made = LocantForConditionalGeneration(make_config(position_encoding=after)).eval()
        made.load_state_dict(swapped.state_dict())
        with torch.no_grad():
            logits = [model(input_ids=IDS, decoder_input_ids=TARGET).logits for model in (swapped, made)]
        torch.testing.assert_close(*logits, atol=0, rtol=0)

    @pytest.mark.sampled(2)
    def test_loading_takes_another_encoding(self, make_model, before, after, tmp_path):
        model = make_model(position_encoding=before)
        model.save_pretrained(tmp_path)
        loaded, info = LocantForConditionalGeneration.from_pretrained(
            tmp_path, position_encoding=after, output_loading_info=True
        )
        assert [loaded.config.position_encoding_at(place) for place in ("encoder", "decoder")] == [after, after]
        if before != after:
            assert set(info["missing_keys"]) == of_positions(loaded)
            assert set(info["unexpected_keys"]) == of_positions(model)
        swapped = model.with_position_encoding(after)
        if not of_positions(swapped):
            with torch.no_grad():
                logits = [m(input_ids=IDS, decoder_input_ids=TARGET).logits for m in (loaded, swapped)]
            torch.testing.assert_close(*logits, atol=0, rtol=0)


class TestDetails:
    def test_new_weights_are_initialised(self, make_model):
        swapped = make_model(position_encoding="none").with_position_encoding("shaw")
        keys = swapped.model.encoder.layers[0].self_attn.position.keys
        assert 0.25 < keys.std() < 0.5  # 8^-0.5

    def test_mode_and_dtype_stay(self, make_model):
        model = make_model(position_encoding="none").to(torch.bfloat16).train()
        swapped = model.with_position_encoding("t5")
        assert swapped.training
        assert {parameter.dtype for parameter in swapped.parameters()} == {torch.bfloat16}

    @pytest.mark.parametrize(("backend", "after"), [("eager", "shaw"), ("blockwise", "t5"), ("sdpa", "rotary")])
    def test_the_backend_stays_where_it_can(self, make_model, backend, after):
        model = make_model(position_encoding="none")
        model.set_attn_implementation(backend)
        assert model.with_position_encoding(after).config._attn_implementation == backend

    def test_a_backend_that_cannot_serve_it_is_changed_and_that_is_said(self, make_model, messages):
        swapped, info = make_model(position_encoding="none").with_position_encoding("shaw", output_loading_info=True)
        assert swapped.config._attn_implementation == "blockwise"
        assert info["attn_implementation"] == ("sdpa", "blockwise")
        assert "sdpa does not support the new encoding and is replaced by blockwise" in messages[0]

    def test_generation_config_and_ties_stay(self, make_model):
        model = make_model(position_encoding="learned")
        model.generation_config.num_beams = 3
        swapped = model.with_position_encoding("rotary")
        assert swapped.generation_config.num_beams == 3
        assert swapped.lm_head.weight is swapped.model.encoder.embed_tokens.weight

    def test_stacks_and_cross_attention_may_differ(self, make_model):
        model = make_model(position_encoding="learned", cross_position_encoding="t5")
        swapped = model.with_position_encoding("rotary", decoder_position_encoding="alibi")
        names = [swapped.config.position_encoding_at(place) for place in ("encoder", "decoder", "cross")]
        assert names == ["rotary", "alibi", "t5"]
        kept = "model.decoder.cross_position.table"
        assert torch.equal(swapped.state_dict()[kept], model.state_dict()[kept])
        assert (
            model.with_position_encoding("rotary", cross_position_encoding="none").config.cross_position_encoding
            == "none"
        )

    def test_options_come_with_it(self, make_model):
        swapped = make_model(position_encoding="none").with_position_encoding(
            "rotary", rope_parameters={"rope_type": "default", "rope_theta": 500.0}
        )
        assert swapped.model.encoder.position.inv_freq[1] == pytest.approx(500.0 ** (-2 / 8))

    def test_a_stack_alone_can_be_swapped(self, make_config):
        encoder = LocantEncoder(make_config(position_encoding="learned")).eval()
        swapped = encoder.with_position_encoding("t5")
        assert type(swapped) is LocantEncoder
        assert torch.equal(swapped.embed_tokens.weight, encoder.embed_tokens.weight)

    @pytest.mark.parametrize("has_pooler", [True, False])
    def test_an_encoder_has_a_pooler_if_it_had_one(self, make_config, has_pooler):
        config = make_config(position_encoding="none", pooler_projection=True)
        swapped, info = LocantEncoderModel(config, add_pooling_layer=has_pooler).with_position_encoding(
            "rotary", output_loading_info=True
        )
        assert (swapped.pooler is not None) is has_pooler
        assert info["missing_keys"] == info["unexpected_keys"] == {}

    def test_an_unknown_encoding_is_refused(self, make_model):
        with pytest.raises(StrictDataclassError, match="'quaternion' is not a position encoding"):
            make_model().with_position_encoding("quaternion")

    def test_it_is_for_both_stacks_where_they_differed_on_loading_too(self, make_model, tmp_path):
        model = make_model(position_encoding="none", decoder_position_encoding="t5")
        model.save_pretrained(tmp_path)
        loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, position_encoding="rotary")
        for other in (loaded, model.with_position_encoding("rotary")):
            assert [other.config.position_encoding_at(place) for place in ("encoder", "decoder")] == [
                "rotary",
                "rotary",
            ]

    def test_what_is_frozen_stays_frozen_and_weights_keep_their_types(self, make_model):
        model = make_model(position_encoding="none", tie_word_embeddings=False).to(torch.bfloat16)
        model.lm_head.float()
        model.model.encoder.requires_grad_(False)
        swapped = model.with_position_encoding("t5")
        assert swapped.lm_head.weight.dtype == torch.float32
        assert torch.equal(swapped.lm_head.weight, model.lm_head.weight)
        trainable = {name for name, parameter in swapped.named_parameters() if parameter.requires_grad}
        assert "model.encoder.position.table" in trainable
        assert not any(name.startswith("model.encoder.layers") for name in trainable)

    def test_gradient_checkpointing_stays_on(self, make_model):
        model = make_model(position_encoding="none")
        model.gradient_checkpointing_enable()
        assert model.with_position_encoding("rotary").model.encoder.gradient_checkpointing

    def test_only_fields_about_position_can_come_with_it(self, make_model):
        with pytest.raises(TypeError, match="d_model"):
            make_model().with_position_encoding("rotary", d_model=64)

    def test_weights_of_another_class_are_not_taken_whatever_their_name_and_shape(self, make_model, register):
        class Namesake(T5Encoding):
            """Has a table of the same name and shape, with numbers that may mean something else."""

        register("namesake", Namesake)
        model = make_model(position_encoding="t5")
        swapped, info = model.with_position_encoding("namesake", output_loading_info=True)
        assert set(info["missing_keys"]) == set(info["unexpected_keys"]) == of_positions(model) == of_positions(swapped)
        assert not torch.equal(model.get_encoder().position.table, swapped.get_encoder().position.table)
