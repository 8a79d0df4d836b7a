# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Buckets of distances and their table, beside T5."""

import math

import pytest
import torch
from transformers import T5Config
from transformers.models.t5.modeling_t5 import T5Attention

from locant.modeling.attention import SelfAttention
from locant.modeling.attention_inputs import AttentionInputs
from locant.modeling.positions import PositionInputs, SlotIndex, T5Encoding
from locant.modeling.positions.t5 import t5_bucket
from locant.modeling.stacks import LocantEncoder

SIZES = [(32, 128), (32, 20), (64, 1000), (8, 5), (4, 3), (12, 100)]


@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize(("num_buckets", "max_distance"), SIZES)
class TestBuckets:
    def test_are_t5s(self, is_causal, num_buckets, max_distance):
        distances = torch.arange(-5000, 5001)
        expected = T5Attention._relative_position_bucket(distances, not is_causal, num_buckets, max_distance)
        assert torch.equal(t5_bucket(distances, is_causal, num_buckets, max_distance), expected)

    def test_the_farthest_share_the_last(self, is_causal, num_buckets, max_distance):
        far = t5_bucket(torch.tensor([-10 * max_distance, -max_distance]), is_causal, num_buckets, max_distance)
        assert far.tolist() == [num_buckets // (1 if is_causal else 2) - 1] * 2


@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize(("num_buckets", "max_distance"), [(32, 128), (64, 1000), (12, 100)])
def test_all_buckets_occur(is_causal, num_buckets, max_distance):
    buckets = t5_bucket(torch.arange(-max_distance, max_distance + 1), is_causal, num_buckets, max_distance)
    # the upper half is for later keys, and has no distance 0
    missing = set() if is_causal else {num_buckets // 2}
    assert set(buckets.tolist()) == set(range(num_buckets)) - missing


def theirs_and_ours(make_config, kind, num_buckets, max_distance):
    """T5's attention, and our encoding with its table."""
    config = T5Config(
        num_heads=4,
        d_model=32,
        d_kv=8,
        relative_attention_num_buckets=num_buckets,
        relative_attention_max_distance=max_distance,
        is_decoder=kind == "decoder",
        attn_implementation="eager",
    )
    theirs = T5Attention(config, has_relative_attention_bias=True, layer_idx=0).eval()
    options = {"num_buckets": num_buckets, "max_distance": max_distance}
    fields = {"position_encoding": "t5", "position_parameters": {"t5": options}}
    encoding = T5Encoding(make_config(attention_bias=False, attn_implementation="eager", **fields), kind)
    torch.nn.init.normal_(theirs.relative_attention_bias.weight)
    encoding.table.data.copy_(theirs.relative_attention_bias.weight)
    return theirs, encoding


@pytest.mark.usefixtures("no_grad")
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@pytest.mark.parametrize(("num_buckets", "max_distance"), SIZES)
class TestBias:
    @pytest.mark.pairwise
    @pytest.mark.parametrize("past", [0, 250])
    def test_is_t5s(self, make_config, kind, num_buckets, max_distance, past):
        theirs, encoding = theirs_and_ours(make_config, kind, num_buckets, max_distance)
        bias = encoding.shared_bias(encoding.table, SlotIndex(300 - past, 300, q_offset=past))
        assert torch.equal(
            bias.matrix(1, 4, torch.device("cpu")), theirs.compute_bias(300 - past, 300, past_seen_tokens=past)
        )

    def test_attention_is_t5s(self, make_config, spread, kind, num_buckets, max_distance):
        theirs, encoding = theirs_and_ours(make_config, kind, num_buckets, max_distance)
        ours = SelfAttention(encoding.config, kind, 0, encoding.build_layer(0)).eval()
        spread(ours, 5)
        for name in "qkvo":
            # T5 does not scale
            scale = ours.scaling if name == "q" else 1.0
            getattr(theirs, name).weight.copy_(getattr(ours, f"{name}_proj").weight * scale)
        mask = torch.full((40, 40), -math.inf).triu(1)[None, None] if kind == "decoder" else None
        states = torch.randn(2, 40, 32)
        index = SlotIndex(40, 40)
        inputs = AttentionInputs(PositionInputs(index, bias=encoding.shared_bias(encoding.table, index)), mask)
        output, weights = ours(states, inputs)
        # T5 adds a mask to the bias alone
        expected, _, expected_weights = theirs(states, mask)
        torch.testing.assert_close(weights, expected_weights, atol=1e-5, rtol=0)
        torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


class TestModel:
    def test_one_table_a_stack(self, make_model):
        model = make_model(position_encoding="t5", cross_position_encoding="t5", decoder_attention_heads=2).model
        tables = {name: tuple(p.shape) for name, p in model.named_parameters() if "position" in name}
        assert tables == {
            "encoder.position.table": (32, 4),
            "decoder.position.table": (32, 2),
            "decoder.cross_position.table": (32, 2),
        }


def test_the_table_starts_small(make_config):
    """The table starts like T5's: buckets of distances that training never meets must not add much noise."""
    encoding = LocantEncoder(make_config(position_encoding="t5", d_model=256)).position
    assert abs(encoding.table.std() / 256**-0.5 - 1) < 0.25
