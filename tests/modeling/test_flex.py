# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""flex_attention with transformers' own call and mask builder, which the tests in other files replace."""

import pytest
import torch
from torch.nn.attention.flex_attention import BlockMask

from locant.modeling.attention_inputs import AttentionInputs

# Transformer-XL's term cannot enter the kernel, nor Shaw's values
ENCODINGS = ["none", "sinusoidal", "learned", "shaw", "t5", "alibi", "rotary"]
IN_CROSS_ATTENTION = ["none", "shaw", "t5", "alibi", "rotary"]


@pytest.fixture
def make_flex_model(make_model):
    def make(encoding):
        model = make_model(
            position_encoding=encoding,
            cross_position_encoding=encoding if encoding in IN_CROSS_ATTENTION else "none",
            position_parameters={"shaw": {"values": False}},
            max_position_embeddings=260,
            encoder_layers=1,
            decoder_layers=1,
            decoder_key_value_heads=2,
        )
        model.set_attn_implementation("flex_attention")
        return model

    return make


@pytest.fixture
def make_inputs(make_batch):
    """A function that makes a batch of a sequence of `length` tokens and one of 80, which is padded on the left."""

    def make(length):
        ids, mask = make_batch([[number % 21 + 3 for number in range(count)] for count in (length, 80)], "left")
        return {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": ids, "decoder_attention_mask": mask}

    return make


def mask_among(arguments):
    return next(argument.mask for argument in arguments if isinstance(argument, AttentionInputs))


def assert_agrees_with_eager(logits, model, inputs):
    model.set_attn_implementation("eager")
    real = inputs["decoder_attention_mask"].bool()
    torch.testing.assert_close(logits[real], model(**inputs).logits[real], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_uncompiled(make_flex_model, make_inputs, no_grad, monkeypatch, encoding):
    """Nothing is replaced: torch runs the same code without compiling it."""
    model, inputs, masks = make_flex_model(encoding), make_inputs(260), {}  # three blocks, one of them all padding
    for name, attention in model.named_modules():
        if name.endswith("_attn"):
            attention.register_forward_pre_hook(lambda _, args, name=name: masks.update({name: mask_among(args)}))
    monkeypatch.setattr(torch.nn.attention.flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    with torch.compiler.set_stance("force_eager"):
        logits = model(**inputs).logits
    # Uncompiled code asks the mask for each pair, compiled code skips whole blocks: those have to be right too
    assert len(masks) == 3
    everywhere = inputs["attention_mask"][:, None].expand(-1, 260, -1).float()
    for name, mask in masks.items():
        assert isinstance(mask, BlockMask)
        visible = everywhere.tril() if "decoder.layers.0.self_attn" in name else everywhere
        blocks = torch.nn.functional.max_pool2d(visible, mask.BLOCK_SIZE, ceil_mode=True)
        assert mask.to_dense()[:, 0].tolist() == blocks.tolist(), name
    assert_agrees_with_eager(logits, model, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_compiled(make_flex_model, make_inputs, no_grad, encoding):
    model, inputs = make_flex_model(encoding), make_inputs(130)  # two blocks
    torch._dynamo.reset()
    logits = model(**inputs).logits
    torch._dynamo.reset()
    assert_agrees_with_eager(logits, model, inputs)
