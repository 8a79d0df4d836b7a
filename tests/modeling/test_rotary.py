# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Rotary positions, compared with Llama, StableLM, Phi, GPT-J and RoFormer."""

import math
import re

import numpy as np
import pytest
import torch
from transformers import (
    DynamicCache,
    GPTJConfig,
    LlamaConfig,
    LlamaModel,
    PhiConfig,
    RoFormerConfig,
    StableLmConfig,
    StableLmModel,
)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.gptj import modeling_gptj
from transformers.models.gptj.modeling_gptj import GPTJAttention
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding, apply_rotary_pos_emb
from transformers.models.phi.modeling_phi import PhiAttention, PhiRotaryEmbedding
from transformers.models.roformer.modeling_roformer import (
    RoFormerSelfAttention,
    RoFormerSinusoidalPositionalEmbedding,
)

from locant.configuration.configuration_locant import LocantConfig
from locant.modeling.attention import SelfAttention
from locant.modeling.attention_inputs import AttentionInputs
from locant.modeling.modeling_locant_decoder import LocantForCausalLM
from locant.modeling.positions import PositionInputs, RotaryEncoding, SlotIndex
from locant.modeling.positions.rotary import cos_sin_of_entries, rotate
from locant.modeling.stacks import LocantDecoder

CAUSAL = {
    "vocab_size": 24,
    "hidden_size": 64,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
}

ROPE_TYPES = {
    "default": {},
    "default of another base": {"rope_theta": 500.0},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 2.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 8},
    "yarn with a ramp": {
        "factor": 4.0,
        "original_max_position_embeddings": 8,
        "beta_fast": 4.0,
        "mscale": 0.7,
        "mscale_all_dim": 1.2,
    },
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8,
    },
    "longrope": {
        "short_factor": [1.0 + 0.1 * k for k in range(8)],
        "long_factor": [2.0 + 0.3 * k for k in range(8)],
        "factor": 4.0,
        "original_max_position_embeddings": 16,
    },
    "proportional": {"factor": 2.0, "partial_rotary_factor": 0.5},
}


def rope_parameters(rope_type):
    return {"rope_theta": 10000.0, **ROPE_TYPES[rope_type], "rope_type": rope_type.split()[0]}


def assert_same(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert theirs.std() > 0.1


def test_every_rope_type_is_here():
    assert {name.split()[0] for name in ROPE_TYPES} == {"default", *ROPE_INIT_FUNCTIONS}


class TestRotate:
    def test_turns_pairs_by_their_angle(self):
        angles, states = torch.tensor([0.3, 1.1]), torch.tensor([1.0, 0.0, 0.0, 2.0]).view(1, 1, 1, 4)
        turned = rotate(states, *cos_sin_of_entries(angles))
        np.testing.assert_allclose(
            turned.flatten(), [np.cos(0.3), -2 * np.sin(1.1), np.sin(0.3), 2 * np.cos(1.1)], rtol=1e-6
        )
        turned = rotate(states, *cos_sin_of_entries(angles, "interleaved"), "interleaved")
        np.testing.assert_allclose(
            turned.flatten(), [np.cos(0.3), np.sin(0.3), -2 * np.sin(1.1), 2 * np.cos(1.1)], rtol=1e-6
        )

    def test_halves_are_llamas(self):
        query, key = torch.randn(2, 2, 3, 5, 8)
        angles = torch.randn(2, 5, 4)
        twice = torch.cat([angles, angles], dim=-1)
        expected = apply_rotary_pos_emb(query, key, twice.cos(), twice.sin())
        for states, other in zip((query, key), expected, strict=True):
            torch.testing.assert_close(rotate(states, *cos_sin_of_entries(angles[:, None])), other)

    def test_interleaved_are_roformers(self):
        query, key = torch.randn(2, 2, 3, 5, 8)
        angles = torch.randn(1, 1, 5, 4)
        sines = torch.cat([angles.sin(), angles.cos()], dim=-1)
        expected = RoFormerSelfAttention.apply_rotary_position_embeddings(sines, query, key)
        for states, other in zip((query, key), expected, strict=True):
            turned = rotate(states, *cos_sin_of_entries(angles, "interleaved"), "interleaved")
            torch.testing.assert_close(turned, other)

    @pytest.mark.parametrize("pairing", ["halves", "interleaved"])
    def test_leaves_the_rest_of_a_head(self, pairing):
        states, angles = torch.randn(1, 2, 3, 8), torch.randn(1, 1, 3, 2)
        cos, sin = cos_sin_of_entries(angles, pairing)
        turned = rotate(states, cos, sin, pairing)
        assert torch.equal(turned[..., 4:], states[..., 4:])
        assert torch.equal(turned[..., :4], rotate(states[..., :4], cos, sin, pairing))

    @pytest.mark.parametrize("pairing", ["halves", "interleaved"])
    def test_scores_depend_on_distance_alone(self, make_config, pairing):
        config = make_config(position_encoding="rotary", position_parameters={"rotary": {"pairing": pairing}})
        encoding = RotaryEncoding(config)
        query, key = torch.randn(2, 1, 1, 1, 8)

        def score(query_position, key_position):
            angles = (angles_of(encoding, torch.tensor([[position]])) for position in (query_position, key_position))
            turned_query, turned_key, _ = encoding.build_layer(0)(query, key, PositionInputs(SlotIndex(1, 1), *angles))
            return (turned_query * turned_key).sum()

        torch.testing.assert_close(score(3, 1), score(25, 23), atol=1e-5, rtol=1e-5)
        assert abs(score(3, 1) - score(3, 2)) > 1e-3


class TestRotaryEncoding:
    def test_frequencies_are_those_of_the_paper(self, make_config):
        encoding = RotaryEncoding(make_config(position_encoding="rotary"))
        expected = 10000.0 ** (-np.arange(0, 8, 2) / 8)
        np.testing.assert_allclose(encoding.inv_freq, expected, rtol=1e-6)

    def test_stacks_may_differ_in_their_heads(self, make_config):
        config = make_config(position_encoding="rotary", encoder_attention_heads=2)
        assert [len(RotaryEncoding(config, kind).inv_freq) for kind in ("encoder", "decoder", "cross")] == [8, 4, 4]

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_angles_stay_exact_in_half_precision(self, make_config, dtype):
        config = make_config(position_encoding="rotary", d_model=128)
        ids = torch.tensor([[0, 1, 1000, 4000]])
        exact, cast = RotaryEncoding(config), RotaryEncoding(config).to(dtype)
        for expected, other in zip(angles_of(exact, ids), angles_of(cast, ids), strict=True):
            torch.testing.assert_close(other, expected, atol=1e-6, rtol=0)
        assert angles_of(cast, ids, dtype)[0].dtype == dtype

    def test_is_not_saved(self, make_config):
        assert RotaryEncoding(make_config(position_encoding="rotary")).state_dict() == {}

    @pytest.mark.parametrize("rope_type", ROPE_TYPES)
    def test_angles_are_llamas(self, rope_type):
        parameters = rope_parameters(rope_type)
        theirs = LlamaRotaryEmbedding(LlamaConfig(**CAUSAL, rope_parameters=dict(parameters)))
        ours = RotaryEncoding(attention_config(parameters), "decoder")
        # some types turn otherwise from a length on, and back again
        for ids in (torch.arange(12)[None], torch.arange(50)[None], torch.tensor([[0, 3, 9], [7, 1, 1]])):
            cos, sin = (own[:, 0] for own in angles_of(ours, ids))
            signs = torch.ones(sin.shape[-1])
            signs[: len(signs) // 2] = -1  # Locant's sine is negative where a pair begins
            for own, expected in zip((cos, sin * signs), theirs(torch.zeros(1), ids), strict=True):
                torch.testing.assert_close(own, expected, atol=1e-6, rtol=0)

    @pytest.mark.parametrize("rope_type", ["default", "yarn", "proportional"])
    def test_interleaved_is_halves_with_the_rows_of_each_head_in_another_order(self, spread, rope_type):
        share = {} if rope_type == "proportional" else {"partial_rotary_factor": 0.5}
        parameters = {**rope_parameters(rope_type), **share}
        halves = attention_of(attention_config(parameters), spread)
        interleaved = attention_of(
            attention_config(parameters, position_parameters={"rotary": {"pairing": "interleaved"}}), spread
        )
        rotated = 16 if rope_type == "proportional" else 8
        order = torch.arange(16)
        order[:rotated] = order[:rotated].view(2, -1).T.flatten()
        for name in ("q_proj", "k_proj"):
            weight = getattr(halves, name).weight.data
            getattr(interleaved, name).weight.data = weight.unflatten(0, (-1, 16))[:, order].flatten(0, 1)
        states = torch.randn(2, 14, 64)
        assert_same(attend(interleaved, states), attend(halves, states))


def angles_of(encoding, position_ids, dtype=torch.float32):
    """The cosines and sines of an encoding for position ids."""
    return encoding(torch.zeros(1, dtype=dtype), position_ids, None)[1]


def attention_config(parameters, **fields):
    return LocantConfig(
        d_model=64,
        decoder_attention_heads=4,
        position_encoding="rotary",
        rope_parameters=dict(parameters),
        max_position_embeddings=16,
        attn_implementation="eager",
        **{"attention_bias": False, "decoder_key_value_heads": 2, **fields},
    )


def attention_of(config, spread):
    """Causal attention with grouped heads; it has the encoding as an attribute, which in a model the stack has."""
    encoding = RotaryEncoding(config, "decoder")
    attention = SelfAttention(config, "decoder", 0, encoding.build_layer(0)).eval()
    spread(attention, 1)
    attention.encoding = encoding
    return attention


@torch.no_grad()
def attend(attention, states, ids=None, mask=None):
    length = states.shape[1]
    angles = angles_of(attention.encoding, torch.arange(length)[None] if ids is None else ids)
    inputs = PositionInputs(SlotIndex(length, length), angles, angles)
    return attention(states, AttentionInputs(inputs, causal(length) if mask is None else mask))[0]


def causal(length):
    return torch.full((length, length), -math.inf).triu(1)[None, None]


@pytest.mark.usefixtures("no_grad")
class TestAttention:
    """One attention module with the weights of one of transformers."""

    IDS = torch.tensor([[*range(14)], [*range(3, 17)]])

    @pytest.mark.parametrize("rope_type", ROPE_TYPES)
    def test_is_llamas(self, spread, rope_type):
        config = LlamaConfig(**CAUSAL, rope_parameters=rope_parameters(rope_type), attn_implementation="eager")
        theirs, ours = LlamaAttention(config, 0).eval(), attention_of(attention_config(config.rope_parameters), spread)
        theirs.load_state_dict(ours.state_dict())
        states = torch.randn(2, 14, 64)
        angles = LlamaRotaryEmbedding(config)(states, self.IDS)
        assert_same(attend(ours, states, self.IDS), theirs(states, angles, causal(14))[0])

    @pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
    def test_is_phis_which_turns_a_part(self, spread, share):
        parameters = {**rope_parameters("default"), "partial_rotary_factor": share}
        config = PhiConfig(**CAUSAL, rope_parameters=dict(parameters), attn_implementation="eager")
        theirs, ours = (
            PhiAttention(config, 0).eval(),
            attention_of(attention_config(parameters, attention_bias=True), spread),
        )
        theirs.load_state_dict({name.replace("o_proj", "dense"): weight for name, weight in ours.state_dict().items()})
        states = torch.randn(2, 14, 64)
        angles = PhiRotaryEmbedding(config)(states, self.IDS)
        assert_same(attend(ours, states, self.IDS), theirs(states, angles, causal(14))[0])

    @pytest.mark.parametrize("rotary_dim", [4, 16])
    def test_interleaved_is_gptjs(self, spread, rotary_dim):
        config = GPTJConfig(n_embd=64, n_head=4, n_positions=32, rotary_dim=rotary_dim)
        parameters = {**rope_parameters("default"), "partial_rotary_factor": rotary_dim / 16}
        fields = {"decoder_key_value_heads": 4, "position_parameters": {"rotary": {"pairing": "interleaved"}}}
        ours = attention_of(attention_config(parameters, **fields), spread)
        theirs = GPTJAttention(config, layer_idx=0).eval()
        theirs.load_state_dict(
            {name.replace("o_proj", "out_proj"): weight for name, weight in ours.state_dict().items()}
        )
        states = torch.randn(2, 14, 64)
        positions = {"position_ids": self.IDS}
        if hasattr(modeling_gptj, "GPTJRotaryEmbedding"):  # from transformers 5.24 on
            positions = {"position_embeddings": modeling_gptj.GPTJRotaryEmbedding(config)(states, self.IDS)}
        expected = theirs(states, attention_mask=causal(14), **positions)[0]
        assert_same(attend(ours, states, self.IDS), expected)

    def test_interleaved_is_roformers(self, spread):
        config = RoFormerConfig(hidden_size=64, num_attention_heads=4)
        fields = {"decoder_key_value_heads": 4, "position_parameters": {"rotary": {"pairing": "interleaved"}}}
        ours = attention_of(attention_config(rope_parameters("default"), attention_bias=True, **fields), spread)
        theirs = RoFormerSelfAttention(config).eval()
        for own, other in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
            getattr(theirs, other).load_state_dict(getattr(ours, own).state_dict())
        table = RoFormerSinusoidalPositionalEmbedding(32, 16)
        table.weight.copy_(table.create_weight())
        states = torch.randn(2, 14, 64)
        expected = theirs(states, causal(14), sinusoidal_pos=table(states.shape)[None, None])[0]
        assert_same(attend(ours, states), ours.o_proj(expected))


CAUSAL_NAMES = {
    r"input_layernorm": "self_attn_residual.norm",
    r"post_attention_layernorm": "ffn_residual.norm",
    r"mlp": "ffn",
    r"^norm": "final_norm",
}


def decoder_with_weights_of(theirs, **fields):
    """Our decoder, which reads no source here, with the weights of a causal language model's body."""
    config = LocantConfig(
        vocab_size=24,
        d_model=64,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_key_value_heads=2,
        decoder_ffn_dim=80,
        gated_ffn=True,
        activation_function="silu",
        norm_position="pre",
        attention_bias=False,
        ffn_bias=False,
        scale_embedding=False,
        position_encoding="rotary",
        rope_parameters=dict(theirs.config.rope_parameters),
        max_position_embeddings=16,
        is_encoder_decoder=False,
        **fields,
    )
    weights = theirs.state_dict()
    for their_name, name in CAUSAL_NAMES.items():
        weights = {re.sub(their_name, name, key): weight for key, weight in weights.items()}
    ours = LocantDecoder(config).eval()
    ours.load_state_dict(weights, strict=True)
    return ours


@torch.no_grad()
def hidden_states(model, length):
    ids = (torch.arange(length)[None] * 7 + torch.tensor([[3], [4]])) % 24
    return model(input_ids=ids).last_hidden_state


class TestStacks:
    """A whole decoder with the weights of one of transformers."""

    @pytest.fixture(params=ROPE_TYPES)
    def llama(self, request, spread):
        theirs = LlamaModel(LlamaConfig(**CAUSAL, rope_parameters=rope_parameters(request.param))).eval()
        spread(theirs, 2)
        return theirs

    @pytest.mark.parametrize("lengths", [(12,), (40,), (40, 24, 12)], ids=["short", "long", "long, then shorter"])
    def test_is_llama(self, llama, lengths):
        ours = decoder_with_weights_of(llama, norm_type="rmsnorm", norm_eps=llama.config.rms_norm_eps)
        for length in lengths:
            assert_same(hidden_states(ours, length), hidden_states(llama, length))

    def test_is_llama_in_steps_with_a_cache(self, llama):
        ours = decoder_with_weights_of(llama, norm_type="rmsnorm", norm_eps=llama.config.rms_norm_eps)
        ids = torch.arange(14)[None] * 5 % 24
        steps = []
        for model in (llama, ours):
            cache = DynamicCache()
            with torch.no_grad():
                steps.append(
                    torch.cat([model(input_ids=part, past_key_values=cache)[0] for part in ids.split([9, 1, 4], 1)], 1)
                )
        assert_same(steps[1], steps[0])

    @pytest.mark.parametrize("rope_type", ["default", "linear", "dynamic", "yarn"])
    @pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
    def test_is_stablelm_which_turns_a_part_of_each_head(self, spread, rope_type, share):
        parameters = {**rope_parameters(rope_type), "partial_rotary_factor": share}
        theirs = StableLmModel(StableLmConfig(**CAUSAL, rope_parameters=parameters, layer_norm_eps=1e-5)).eval()
        spread(theirs, 3)
        ours = decoder_with_weights_of(theirs, norm_type="layernorm", norm_eps=1e-5)
        for length in (12, 30):
            assert_same(hidden_states(ours, length), hidden_states(theirs, length))

    def test_a_cast_after_a_long_sequence_changes_nothing(self, make_model, no_grad):
        parameters = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
        fields = {"position_encoding": "rotary", "max_position_embeddings": 8, "rope_parameters": parameters}
        used, fresh = (make_model(LocantForCausalLM, **fields) for _ in range(2))
        ids = torch.arange(30)[None] % 21 + 3
        used(ids)
        used.double(), fresh.double()
        for length in (30, 5):
            assert_same(used(ids[:, :length]).logits, fresh(ids[:, :length]).logits)
