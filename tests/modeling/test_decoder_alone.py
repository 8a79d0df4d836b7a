# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A decoder, an encoder or an attention without the rest of a model."""

import pytest
import torch
from transformers import DynamicCache, StaticCache

from locant.modeling.attention import SelfAttention
from locant.modeling.attention_inputs import self_attention_inputs
from locant.modeling.positions import build_position_encoding
from locant.modeling.stack_inputs import prepare_stack_inputs
from locant.modeling.stacks import LocantDecoder, LocantEncoder


class TestDecoder:
    @pytest.mark.parametrize("cache", ["made by itself", "dynamic", "static"])
    @pytest.mark.parametrize(("encoder_layers", "decoder_layers"), [(1, 2), (3, 2)])
    def test_layers_that_slide_and_layers_that_do_not_keep_caches_of_their_own(
        self, make_model, no_grad, cache, encoder_layers, decoder_layers
    ):
        decoder = make_model(
            LocantDecoder,
            is_encoder_decoder=False,
            position_encoding="rotary",
            encoder_layers=encoder_layers,
            decoder_layers=decoder_layers,
            decoder_layer_types=["full_attention", "sliding_attention"],
            sliding_window=3,
        )
        ids = torch.arange(11)[None] + 3
        expected = decoder(ids, use_cache=False).last_hidden_state
        past = {"dynamic": DynamicCache(config=decoder.config), "made by itself": None}.get(
            cache, StaticCache(config=decoder.config, max_cache_len=12)
        )
        steps = []
        for start, end in ((0, 5), (5, 6), (6, 9), (9, 11)):
            output = decoder(ids[:, start:end], past_key_values=past, use_cache=True)
            past = output.past_key_values
            steps.append(output.last_hidden_state)
        torch.testing.assert_close(torch.cat(steps, 1), expected, atol=1e-5, rtol=1e-5)

    def test_without_cross_attention_an_encoder_is_refused_in_one_sentence(self, make_model):
        decoder = make_model(LocantDecoder, is_encoder_decoder=False)
        with pytest.raises(ValueError, match=r"^This decoder has no cross-attention for encoder_hidden_states"):
            decoder(torch.tensor([[5]]), encoder_hidden_states=torch.randn(1, 2, 32))


class TestBackendOfAStackAlone:
    def test_encodings_that_a_stack_does_not_have_do_not_count(self, make_config):
        config = make_config(position_encoding="alibi", decoder_position_encoding="shaw")
        encoder = LocantEncoder(config)
        assert encoder.config._attn_implementation == "sdpa"
        encoder.set_attn_implementation("flex_attention")
        config = make_config(cross_position_encoding="shaw", is_encoder_decoder=False)
        assert LocantDecoder(config).config._attn_implementation == "sdpa"


class TestAttention:
    @pytest.mark.pairwise
    @pytest.mark.parametrize("window", [None, 2])
    @pytest.mark.parametrize("encoding", ["none", "t5", "shaw"])
    @pytest.mark.parametrize("backend", [None, "eager", "sdpa", "blockwise", "flex_attention"])
    def test_alone_it_sees_no_later_key(self, make_config, spread, uncompiled_flex, backend, encoding, window, no_grad):
        if encoding == "shaw" and backend in ("sdpa", "flex_attention"):
            pytest.skip("shaw's values are refused there, which test_backends.py tests")
        config = make_config(position_encoding=encoding, attn_implementation=backend)
        position = build_position_encoding(config, "decoder")
        attention = SelfAttention(config, "decoder", 0, position.build_layer(0), sliding_window=window).eval()
        spread(attention, 3)

        def attend(states):
            inputs = prepare_stack_inputs(states, None, None, None)
            shared = position(states, inputs.position_ids, inputs.position_bound)[1]
            inputs = self_attention_inputs(config, position, shared, inputs, window=window)
            return attention(states, inputs)[0]

        states = torch.randn(1, 6, 32)
        whole = attend(states)
        for end in range(1, 6):
            start = 0 if window is None else max(0, end - window)
            part = attend(states[:, start:end])
            torch.testing.assert_close(whole[:, end - 1], part[:, -1], atol=1e-5, rtol=1e-5)
