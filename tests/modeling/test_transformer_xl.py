# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The four terms of content and distance, compared with XLNet, which has them from Transformer-XL."""

import math

import pytest
import torch
from torch import nn
from transformers import DynamicCache, XLNetConfig
from transformers.models.xlnet.modeling_xlnet import XLNetModel, XLNetRelativeAttention

from locant.modeling.attention import SelfAttention
from locant.modeling.attention_inputs import AttentionInputs
from locant.modeling.modeling_locant import LocantModel
from locant.modeling.positions import PositionInputs, SlotIndex, TransformerXLEncoding
from locant.modeling.positions.sinusoidal import sinusoids

WIDTH, HEADS = 32, 4


def xlnet_config(attn_type):
    return XLNetConfig(d_model=WIDTH, n_head=HEADS, d_inner=40, n_layer=1, vocab_size=24, attn_type=attn_type)


def sinusoids_of_xlnet(queries, keys, attn_type):
    """XLNet's sinusoids of the distances from the first key to behind the last: `(distances, 1, width)`."""
    return XLNetModel(xlnet_config(attn_type)).relative_positional_encoding(queries, keys, bsz=1)


class TestSinusoids:
    @pytest.mark.parametrize("attn_type", ["bi", "uni"])
    def test_are_xlnets(self, attn_type):
        expected = sinusoids_of_xlnet(6, 9, attn_type)[:, 0]
        distances = torch.arange(9, -6 if attn_type == "bi" else -1, -1)
        ours = sinusoids(distances.double(), WIDTH, "concatenated")
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)


@pytest.fixture
def make_pair(make_config, spread):
    """A function that makes our attention, and XLNet's with our weights and without its norm."""

    def make(attn_type):
        theirs = XLNetRelativeAttention(xlnet_config(attn_type)).eval()
        theirs.layer_norm = nn.Identity()
        config = make_config(position_encoding="transformer_xl", attention_bias=False, attn_implementation="eager")
        kind = "encoder" if attn_type == "bi" else "decoder"
        layer = TransformerXLEncoding(config, kind).build_layer(0)
        ours = SelfAttention(config, kind, 0, layer).eval()
        spread(ours, 7)
        for name in "qkv":
            getattr(theirs, name).data = getattr(ours, f"{name}_proj").weight.data.T.reshape(WIDTH, HEADS, 8)
        theirs.o.data = ours.o_proj.weight.data.reshape(WIDTH, HEADS, 8)
        theirs.r.data = layer.r_proj.weight.data.T.reshape(WIDTH, HEADS, 8)
        theirs.r_w_bias.data, theirs.r_r_bias.data = layer.content_bias.data, layer.position_bias.data
        return theirs, ours

    return make


def attend(theirs, states, mask, sinusoids, mems=None):
    """The output of XLNet's attention without the residual; XLNet has the batch in the second dimension."""
    output = theirs(states.transpose(0, 1), None, mask, None, sinusoids, None, mems=mems)[0]
    return output.transpose(0, 1) - states


@pytest.mark.usefixtures("no_grad")
class TestAttention:
    @pytest.mark.parametrize("attn_type", ["bi", "uni"])
    def test_is_xlnets(self, make_pair, attn_type):
        theirs, ours = make_pair(attn_type)
        states, hidden = torch.randn(2, 15, WIDTH), torch.ones(15, 15).triu(1)
        if attn_type == "bi":
            hidden = torch.zeros(15, 15)
        expected = attend(theirs, states, hidden[..., None, None], sinusoids_of_xlnet(15, 15, attn_type))
        mask = torch.zeros(15, 15).masked_fill(hidden.bool(), -math.inf)[None, None]
        output = ours(states, AttentionInputs(PositionInputs(SlotIndex(15, 15)), mask))[0]
        torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
        assert expected.std() > 0.1

    def test_a_cache_is_xlnets_memory(self, make_pair):
        theirs, ours = make_pair("uni")
        states, cache = torch.randn(2, 15, WIDTH), DynamicCache()
        for start, end in ((0, 6), (6, 7), (7, 15)):
            new, hidden = states[:, start:end], torch.ones(end - start, end).triu(start + 1)
            mems = states[:, :start].transpose(0, 1) if start else None
            sinusoids = sinusoids_of_xlnet(end - start, end, "uni")
            expected = attend(theirs, new, hidden[..., None, None], sinusoids, mems)
            mask = torch.zeros_like(hidden).masked_fill(hidden.bool(), -math.inf)[None, None]
            index = SlotIndex(end - start, end, start)
            output = ours(new, AttentionInputs(PositionInputs(index), mask), cache)[0]
            torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


class TestInitialization:
    def test_biases_are_0_and_the_projection_is_one_like_the_others(self, make_config):
        for name, parameter in LocantModel(make_config(position_encoding="transformer_xl")).named_parameters():
            if name.endswith(("content_bias", "position_bias")):
                assert not parameter.any()
            elif name.endswith("r_proj.weight"):
                assert 0.5 < parameter.std() / (2 / (2 * WIDTH)) ** 0.5 < 1.5
