# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Attention, feed-forward and norms on plain tensors, and the attention weights that a model returns on request."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import DynamicCache, EncoderDecoderCache
from transformers.cache_utils import Cache, DynamicSlidingWindowLayer, StaticLayer

from locant.modeling.attention import CrossAttention, SelfAttention
from locant.modeling.attention_backends import eager_attention
from locant.modeling.attention_inputs import AttentionInputs, _slot_index
from locant.modeling.layers import FeedForward, TransformerLayer, build_norm
from locant.modeling.positions import DistanceBias, PositionInputs, PositionLayer, SlotIndex
from locant.modeling.stacks import LocantEncoder


@pytest.fixture
def make_attention(make_config, spread):
    def make(backend="eager", kind="encoder", layer_idx=0, **fields):
        config = make_config(attn_implementation=backend, **fields)
        if kind == "cross":
            attention = CrossAttention(config, layer_idx, PositionLayer()).eval()
        else:
            attention = SelfAttention(config, kind, layer_idx, PositionLayer()).eval()
        spread(attention, 0)
        return attention

    return make


def plain(queries, keys=None, mask=None, q_offset=0):
    """The inputs of an attention module without a position encoding."""
    return AttentionInputs(PositionInputs(SlotIndex(queries, queries if keys is None else keys, q_offset)), mask)


def heads(projection, states, head_dim):
    return projection(states).unflatten(-1, (-1, head_dim)).transpose(1, 2)


@pytest.mark.usefixtures("no_grad")
class TestAttention:
    @pytest.mark.parametrize("kind", ["encoder", "cross"])
    def test_is_torchs_multi_head_attention(self, make_attention, backend, kind):
        ours, theirs = make_attention(backend, kind), nn.MultiheadAttention(32, 4, batch_first=True).eval()
        theirs.in_proj_weight.copy_(torch.cat([p.weight for p in (ours.q_proj, ours.k_proj, ours.v_proj)]))
        theirs.in_proj_bias.copy_(torch.cat([p.bias for p in (ours.q_proj, ours.k_proj, ours.v_proj)]))
        theirs.out_proj.load_state_dict(ours.o_proj.state_dict())
        queries, keys = torch.randn(2, 5, 32), torch.randn(2, 7, 32)
        if kind == "cross":
            output, own_weights = ours(queries, keys, plain(5, 7))
        else:
            keys = queries
            output, own_weights = ours(queries, plain(5))
        expected, weights = theirs(queries, keys, keys, average_attn_weights=False)
        torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
        if backend == "eager":
            torch.testing.assert_close(own_weights, weights, atol=1e-6, rtol=1e-5)

    def test_a_mask_is_added_to_the_scores(self, make_attention):
        attention, states = make_attention(), torch.randn(1, 5, 32)
        mask = torch.full((5, 5), -math.inf).triu(1).view(1, 1, 5, 5)
        expected = attention.o_proj(
            scaled_dot_product_attention(
                *(heads(p, states, 8) for p in (attention.q_proj, attention.k_proj, attention.v_proj)), is_causal=True
            )
            .transpose(1, 2)
            .flatten(2)
        )
        torch.testing.assert_close(attention(states, plain(5, mask=mask))[0], expected, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize(("query_heads", "groups"), [(4, 1), (4, 2), (6, 3)])
    def test_key_value_heads_are_shared_by_neighbours(self, make_attention, query_heads, groups, backend):
        # 6 heads of 8: the heads need not fill the width
        fields = {"encoder_attention_heads": query_heads, "encoder_key_value_heads": groups, "head_dim": 8}
        attention = make_attention(backend, **fields)
        assert attention.k_proj.out_features == groups * 8
        states = torch.randn(2, 5, 32)
        query, key, value = (heads(p, states, 8) for p in (attention.q_proj, attention.k_proj, attention.v_proj))
        per_head = [
            scaled_dot_product_attention(
                query[:, h], key[:, h * groups // query_heads], value[:, h * groups // query_heads]
            )
            for h in range(query_heads)
        ]
        expected = attention.o_proj(torch.cat(per_head, dim=-1))
        torch.testing.assert_close(attention(states, plain(5))[0], expected, atol=1e-5, rtol=1e-5)

    def test_weights_are_dropped_in_training_alone(self, make_attention):
        attention, states = make_attention(attention_dropout=0.5), torch.randn(1, 20, 32)
        assert torch.equal(attention(states, plain(20))[0], attention(states, plain(20))[0])
        attention.train()
        weights = attention(states, plain(20))[1]
        assert 0.4 < (weights == 0).float().mean() < 0.6

    def test_biases_are_an_option(self, make_attention):
        attention = make_attention(attention_bias=False)
        assert {name for name, _ in attention.named_parameters()} == {
            f"{name}_proj.weight" for name in ("q", "k", "v", "o")
        }

    @pytest.mark.parametrize("kind", ["encoder", "cross"])
    def test_a_cache_holds_the_keys_and_values(self, make_attention, kind):
        attention, states = make_attention(kind=kind, layer_idx=1), torch.randn(2, 4, 32)
        source = (torch.randn(2, 6, 32),) if kind == "cross" else ()
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        cache.self_attention_cache.update(torch.zeros(2, 4, 0, 8), torch.zeros(2, 4, 0, 8), 0)
        cache.cross_attention_cache.update(torch.zeros(2, 4, 0, 8), torch.zeros(2, 4, 0, 8), 0)
        step = [attention(part, *source, plain(part.shape[1]), cache)[0] for part in states.split([3, 1], 1)]
        whole = attention(states, *source, plain(4))[0]
        if kind == "cross":
            assert cache.is_updated[1]
            assert cache.cross_attention_cache.get_seq_length(1) == 6
            torch.testing.assert_close(torch.cat(step, 1), whole, atol=1e-6, rtol=1e-5)
        else:
            assert cache.self_attention_cache.get_seq_length(1) == 4
            torch.testing.assert_close(step[1], whole[:, 3:], atol=1e-6, rtol=1e-5)

    def test_eager_attention_adds_a_bias_to_the_scores(self):
        query, key, value = torch.randn(3, 2, 4, 5, 8)
        mask = torch.full((5, 5), -math.inf).triu(1).view(1, 1, 5, 5)
        distance = torch.arange(5) - torch.arange(5)[:, None]
        added = mask + torch.arange(1, 5).view(4, 1, 1) * distance
        bias = Ramp(SlotIndex(5, 5), torch.arange(1.0, 5))
        output, weights = eager_attention(nn.Module(), query, key, value, mask, 0.3, bias=bias)
        expected = scaled_dot_product_attention(query, key, value, attn_mask=added, scale=0.3)
        torch.testing.assert_close(output.transpose(1, 2), expected, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(weights @ value, expected, atol=1e-6, rtol=1e-5)


@dataclass(frozen=True)
class Ramp(DistanceBias):
    slopes: torch.Tensor

    def of_distance(self, head, distance):
        return self.slopes[head] * distance


class TestSlotsOfACache:
    """The slots of new queries, and of the keys that they attend to, with each kind of cache."""

    def filled(self, cache, length):
        cache.update(torch.zeros(1, 2, length, 4), torch.zeros(1, 2, length, 4), 0)
        return cache

    def test_without_one(self):
        assert _slot_index(None, 3, 0) == SlotIndex(3, 3)

    def test_that_grows(self):
        assert _slot_index(DynamicCache(), 3, 0) == SlotIndex(3, 3, 0, 0)
        assert _slot_index(self.filled(DynamicCache(), 5), 2, 0) == SlotIndex(2, 7, 5, 0)

    def test_that_drops_the_oldest(self):
        cache = self.filled(Cache(layers=[DynamicSlidingWindowLayer(sliding_window=4)]), 9)
        # the window of the first new query reaches back to slot 6
        assert _slot_index(cache, 2, 0) == SlotIndex(2, 5, 9, 6)

    def test_of_a_fixed_size_keeps_the_number_that_it_had(self):
        cache = self.filled(Cache(layers=[StaticLayer(max_cache_len=8)]), 3)
        index = _slot_index(cache, 2, 0)
        self.filled(cache, 2)
        assert (index.q_length, index.kv_length, int(index.q_offset), index.kv_offset) == (2, 8, 3, 0)


class TestFeedForward:
    def test_is_equation_2(self, make_config):
        layer = FeedForward(make_config(activation_function="relu"), 5)
        states = torch.randn(2, 3, 32)
        inner = (states @ layer.up_proj.weight.T + layer.up_proj.bias).clamp(min=0)
        torch.testing.assert_close(layer(states), inner @ layer.down_proj.weight.T + layer.down_proj.bias)

    def test_gate_multiplies(self, make_config):
        layer = FeedForward(make_config(activation_function="silu", ffn_bias=False, gated_ffn=True), 5)
        states = torch.randn(2, 3, 32)
        gate = states @ layer.gate_proj.weight.T
        inner = gate * gate.sigmoid() * (states @ layer.up_proj.weight.T)
        torch.testing.assert_close(layer(states), inner @ layer.down_proj.weight.T)
        assert all(name.endswith("weight") for name, _ in layer.named_parameters())

    @pytest.mark.parametrize("gated", [False, True])
    def test_inner_values_are_dropped_in_training_alone(self, make_config, gated):
        layer = FeedForward(make_config(gated_ffn=gated, activation_dropout=0.5), 400).eval()
        dropped = []
        layer.down_proj.register_forward_pre_hook(lambda _, inputs: dropped.append((inputs[0] == 0).float().mean()))
        layer.activation = nn.Identity()
        states = torch.randn(2, 3, 32)
        layer(states)
        layer.train()(states)
        assert dropped[0] == 0
        assert 0.4 < dropped[1] < 0.6


class TestNorms:
    def test_layernorm(self, make_config):
        norm, states = build_norm(make_config(norm_eps=0.1)), torch.randn(3, 32)
        expected = (states - states.mean(-1, keepdim=True)) / (states.var(-1, keepdim=True, correction=0) + 0.1).sqrt()
        torch.testing.assert_close(norm(states), expected)

    def test_rmsnorm(self, make_config):
        norm, states = build_norm(make_config(norm_type="rmsnorm", norm_eps=0.1)), torch.randn(3, 32)
        torch.testing.assert_close(norm(states), states / (states.square().mean(-1, keepdim=True) + 0.1).sqrt())

    def test_a_stack_ends_in_a_norm_with_pre_norm_alone(self, make_config):
        assert isinstance(LocantEncoder(make_config(norm_position="pre")).final_norm, nn.LayerNorm)
        assert isinstance(LocantEncoder(make_config(norm_position="post")).final_norm, nn.Identity)


class TestLayer:
    @pytest.fixture
    def make_layer(self, make_config, spread):
        def make(stack, cross_position=None, **fields):
            config = make_config(attn_implementation="eager", **fields)
            layer = TransformerLayer(config, stack, 0, PositionLayer(), cross_position).eval()
            spread(layer, 0)
            return layer

        return make

    def sublayer(self, layer, name, states, function):
        """The equations of post-norm (Vaswani et al. 2017) and pre-norm (Xiong et al. 2020)."""
        norm = getattr(layer, f"{name}_residual").norm
        return states + function(norm(states)) if layer.is_pre_norm else norm(states + function(states))

    def test_is_attention_and_feed_forward_around_the_residual_sum(self, make_layer, norm_position):
        layer, states, inputs = make_layer("encoder", norm_position=norm_position), torch.randn(2, 3, 32), plain(3)
        expected = self.sublayer(layer, "self_attn", states, lambda x: layer.self_attn(x, inputs)[0])
        expected = self.sublayer(layer, "ffn", expected, layer.ffn)
        torch.testing.assert_close(layer(states, self_inputs=inputs), expected)

    def test_a_decoder_layer_attends_to_the_source_between(self, make_layer, norm_position):
        layer = make_layer("decoder", PositionLayer(), norm_position=norm_position)
        states, source, own, across = torch.randn(2, 3, 32), torch.randn(2, 4, 32), plain(3), plain(3, 4)
        expected = self.sublayer(layer, "self_attn", states, lambda x: layer.self_attn(x, own)[0])
        expected = self.sublayer(layer, "cross_attn", expected, lambda x: layer.cross_attn(x, source, across)[0])
        expected = self.sublayer(layer, "ffn", expected, layer.ffn)
        torch.testing.assert_close(layer(states, source, self_inputs=own, cross_inputs=across), expected)

    def test_attends_to_no_source_without_cross_attention(self, make_layer):
        layer, states = make_layer("decoder"), torch.randn(2, 3, 32)
        assert layer.cross_attn is None
        output = layer(states, torch.randn(2, 4, 32), self_inputs=plain(3), cross_inputs=plain(3, 4))
        assert torch.equal(output, layer(states, self_inputs=plain(3)))

    @pytest.mark.parametrize("sublayer", ["self_attn", "cross_attn", "ffn"])
    def test_the_output_of_a_sublayer_is_dropped_in_training_alone(self, make_layer, norm_position, sublayer):
        layer = make_layer("decoder", PositionLayer(), norm_position=norm_position, dropout=0.5)
        inputs = {"self_inputs": plain(3), "cross_inputs": plain(3, 4)}
        for name in {"self_attn", "cross_attn", "ffn"} - {sublayer}:
            getattr(layer, f"{name}_residual").dropout.p = 0.0
        states, source = torch.randn(2, 3, 32), torch.randn(2, 4, 32)
        assert torch.equal(layer(states, source, **inputs), layer(states, source, **inputs))
        layer.train()
        assert not torch.equal(layer(states, source, **inputs), layer(states, source, **inputs))


class TestWeightsOfAModel:
    SOURCES: tuple = ([5, 6, 7, 8, 2], [9, 10, 2])
    TARGETS: tuple = ([1, 11, 12, 13], [1, 14, 15, 16])

    @pytest.fixture
    def inputs(self, make_batch):
        ids, mask = make_batch(self.SOURCES)
        return {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": make_batch(self.TARGETS)[0]}

    @torch.no_grad()
    def outputs(self, model, inputs, backend="eager"):
        model.set_attn_implementation(backend)
        return model(**inputs, output_attentions=True, output_hidden_states=True)

    def test_one_tensor_a_layer_whose_rows_sum_to_1(self, make_model, encoding, norm_position, inputs):
        model = make_model(position_encoding=encoding, norm_position=norm_position, decoder_layers=3)
        outputs = self.outputs(model, inputs)
        for weights, layers, queries, keys in (
            (outputs.encoder_attentions, 2, 5, 5),
            (outputs.decoder_attentions, 3, 4, 4),
            (outputs.cross_attentions, 3, 4, 5),
        ):
            assert [tuple(layer.shape) for layer in weights] == [(2, 4, queries, keys)] * layers
            for layer in weights:
                torch.testing.assert_close(layer.sum(-1), torch.ones(2, 4, queries), atol=1e-5, rtol=0)

    def test_nothing_falls_on_padding_or_on_later_tokens(self, make_model, inputs):
        outputs = self.outputs(make_model(), inputs)
        for layer in (*outputs.encoder_attentions, *outputs.cross_attentions):
            assert layer[1, :, :, 3:].abs().max() == 0
            assert layer[0].min() > 0
        for layer in outputs.decoder_attentions:
            assert layer.triu(1).abs().max() == 0
            assert layer.tril().count_nonzero() == 2 * 4 * 10

    def test_cross_attention_is_softmax_of_query_and_source(self, make_model, inputs):
        model = make_model(norm_position="post", decoder_layers=1)
        outputs = self.outputs(model, inputs)
        layer = model.model.decoder.layers[0]
        states = outputs.decoder_hidden_states[0]
        causal = torch.full((4, 4), -math.inf).triu(1)
        with torch.no_grad():
            attended = layer.self_attn_residual.norm(states + layer.self_attn(states, plain(4, mask=causal))[0])
            query = heads(layer.cross_attn.q_proj, attended, 8)
            key = heads(layer.cross_attn.k_proj, outputs.encoder_last_hidden_state, 8)
            scores = query @ key.transpose(2, 3) / math.sqrt(8)
            expected = scores.masked_fill(inputs["attention_mask"][:, None, None] == 0, -math.inf).softmax(-1)
        torch.testing.assert_close(outputs.cross_attentions[0], expected, atol=1e-6, rtol=1e-5)

    def test_hidden_states_are_the_embeddings_and_each_layers(self, make_model, norm_position, inputs):
        """The last state is that after the final norm."""
        model = make_model(norm_position=norm_position, position_encoding="none", encoder_layers=3, decoder_layers=4)
        stacks, made = (model.model.encoder, model.model.decoder), ([], [])
        for stack, states in zip(stacks, made, strict=True):
            for layer in stack.layers:
                layer.register_forward_hook(lambda _layer, _inputs, output, states=states: states.append(output))
        outputs = self.outputs(model, inputs)
        found = outputs.encoder_hidden_states, outputs.decoder_hidden_states
        for stack, of_layers, states, name in zip(stacks, made, found, ("input_ids", "decoder_input_ids"), strict=True):
            embedded = model.get_input_embeddings()(inputs[name]) * math.sqrt(32)
            expected = [embedded, *of_layers[:-1], stack.final_norm(of_layers[-1])]
            assert len(of_layers) == len(stack.layers)
            for state, own in zip(states, expected, strict=True):
                torch.testing.assert_close(state, own)
        assert torch.equal(outputs.encoder_hidden_states[-1], outputs.encoder_last_hidden_state)

    def test_asking_changes_nothing(self, make_model, inputs):
        model = make_model()
        expected = self.outputs(model, inputs).logits
        with torch.no_grad():
            assert torch.equal(model(**inputs).logits, expected)

    def test_sdpa_gives_none(self, make_model, inputs):
        outputs = self.outputs(make_model(), inputs, "sdpa")
        assert outputs.encoder_attentions == outputs.decoder_attentions == outputs.cross_attentions == ()

    def test_come_with_generate(self, make_model, inputs):
        model = make_model()
        model.set_attn_implementation("eager")
        outputs = model.generate(
            inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            min_new_tokens=3,
            max_new_tokens=3,
            output_attentions=True,
            return_dict_in_generate=True,
        )
        assert [step[1].shape for step in outputs.cross_attentions] == [(2, 4, 1, 5)] * 3
        assert [step[0].shape[-1] for step in outputs.decoder_attentions] == [1, 2, 3]
