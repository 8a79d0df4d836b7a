# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""ALiBi: slopes and biases, compared with Bloom and MPT."""

import math

import pytest
import torch
from transformers import BloomConfig, MptConfig
from transformers.models.bloom.modeling_bloom import BloomAttention, build_alibi_tensor
from transformers.models.mpt.modeling_mpt import MptAttention, build_mpt_alibi_tensor

from locant.modeling.attention import SelfAttention
from locant.modeling.attention_inputs import AttentionInputs
from locant.modeling.positions import AlibiEncoding, PositionInputs, SlotIndex
from locant.modeling.positions.alibi import alibi_slopes

HEADS = [*range(1, 34), 40, 112]


class TestSlopes:
    def test_are_those_of_the_paper(self):
        assert alibi_slopes(8).tolist() == [2.0**-i for i in range(1, 9)]
        assert alibi_slopes(16)[:2].tolist() == pytest.approx([2**-0.5, 2**-1.0])

    @pytest.mark.parametrize("heads", HEADS)
    def test_are_blooms(self, heads):
        # the bias of the second key is one slope
        expected = build_alibi_tensor(torch.ones(1, 2, dtype=torch.long), heads, torch.float32)[:, 0, 1]
        torch.testing.assert_close(alibi_slopes(heads), expected, atol=0, rtol=1e-6)

    @pytest.mark.parametrize("max_bias", [8, 4, 16])
    @pytest.mark.parametrize("heads", HEADS)
    def test_are_mpts(self, heads, max_bias):
        # the bias of the last key but one is minus a slope
        expected = -build_mpt_alibi_tensor(heads, 2, alibi_bias_max=max_bias)[:, 0, 0]
        torch.testing.assert_close(alibi_slopes(heads, max_bias), expected, atol=0, rtol=1e-6)


def encoding_of(make_config, kind="decoder", heads=4, **options):
    return AlibiEncoding(
        make_config(
            position_encoding="alibi",
            d_model=8 * heads,
            encoder_attention_heads=heads,
            decoder_attention_heads=heads,
            position_parameters={"alibi": options},
            attn_implementation="eager",
        ),
        kind,
    )


def bias_of(encoding, index):
    return encoding.shared_bias(encoding(torch.zeros(1), torch.zeros(1), 1)[1], index)


class TestBias:
    @pytest.mark.parametrize("heads", [4, 6])
    def test_is_symmetric_in_an_encoder(self, make_config, heads):
        encoding = encoding_of(make_config, "encoder", heads, max_bias=6.0)
        matrix = bias_of(encoding, SlotIndex(5, 7, q_offset=1)).matrix(1, heads, torch.device("cpu"))
        below = [2.0 ** (-6 * (h + 1) / 4) for h in range(4)]
        between = [2.0 ** (-6 * (2 * h + 1) / 8) for h in range(heads - 4)]
        expected = [[[-slope * abs(j - (i + 1)) for j in range(7)] for i in range(5)] for slope in (*below, *between)]
        torch.testing.assert_close(matrix[0], torch.tensor(expected), atol=1e-6, rtol=1e-6)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_slopes_stay_exact_in_half_precision(self, make_config, dtype):
        encoding = encoding_of(make_config, heads=12).to(dtype)
        assert torch.equal(bias_of(encoding, SlotIndex(1, 1)).slopes, alibi_slopes(12))

    def test_is_not_saved(self, make_config):
        assert encoding_of(make_config).state_dict() == {}


def bloom(ours, heads):
    """Bloom's attention with our weights, which it stores head by head, and with its own bias."""
    theirs = BloomAttention(BloomConfig(hidden_size=8 * heads, n_head=heads), 0).eval()
    for kind in ("weight", "bias"):
        parts = [getattr(getattr(ours, f"{name}_proj"), kind).unflatten(0, (heads, 8)) for name in "qkv"]
        getattr(theirs.query_key_value, kind).copy_(torch.stack(parts, 1).flatten(0, 2))
    theirs.dense.load_state_dict(ours.o_proj.state_dict())

    def attend(states, mask):
        alibi = build_alibi_tensor(torch.ones(states.shape[:2], dtype=torch.long), heads, torch.float32)
        return theirs(states, torch.zeros_like(states), alibi, mask)[0]

    return attend


def mpt(ours, heads):
    """MPT's attention with our weights, one after the other. MPT has no biases, so ours are set to 0."""
    theirs = MptAttention(MptConfig(d_model=8 * heads, n_heads=heads), 0).eval()
    for projection in (ours.q_proj, ours.k_proj, ours.v_proj, ours.o_proj):
        projection.bias.zero_()
    theirs.Wqkv.weight.copy_(torch.cat([p.weight for p in (ours.q_proj, ours.k_proj, ours.v_proj)]))
    theirs.out_proj.weight.copy_(ours.o_proj.weight)

    def attend(states, mask):
        return theirs(states, build_mpt_alibi_tensor(heads, states.shape[1]), attention_mask=mask < 0)[0]

    return attend


@pytest.mark.usefixtures("no_grad")
@pytest.mark.parametrize("heads", [1, 4, 6, 12])
@pytest.mark.parametrize("family", [bloom, mpt], ids=lambda family: family.__name__)
def test_attention_is_theirs(make_config, spread, family, heads):
    encoding = encoding_of(make_config, heads=heads)
    ours = SelfAttention(encoding.config, "decoder", 0, encoding.build_layer(0)).eval()
    spread(ours, 6)
    attend, states = family(ours, heads), torch.randn(2, 20, 8 * heads)
    mask = torch.full((20, 20), -math.inf).triu(1)[None, None]
    index = SlotIndex(20, 20)
    inputs = AttentionInputs(PositionInputs(index, bias=bias_of(encoding, index)), mask)
    output, expected = ours(states, inputs)[0], attend(states, mask)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0.1
