# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""flex_attention compiled, as users have it; the other tests run it uncompiled."""

import pytest
import torch

# Transformer-XL's term cannot enter the kernel, nor Shaw's values
SLOW = ["none", "sinusoidal", "learned", "shaw", "alibi", "rotary"]
LENGTH = 130  # two blocks of the kernel's


@pytest.mark.parametrize("encoding", ["t5", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_compiled(make_model, make_batch, no_grad, encoding):
    model = make_model(
        position_encoding=encoding,
        position_parameters={"shaw": {"values": False}},
        max_position_embeddings=LENGTH,
        encoder_layers=1,
        decoder_layers=1,
        decoder_key_value_heads=2,
    )
    ids, mask = make_batch([[number % 21 + 3 for number in range(LENGTH)], [*range(3, 23)] * 4], "left")
    inputs = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": ids, "decoder_attention_mask": mask}
    model.set_attn_implementation("eager")
    expected = model(**inputs).logits
    model.set_attn_implementation("flex_attention")
    torch._dynamo.reset()
    logits = model(**inputs).logits
    torch._dynamo.reset()
    real = mask.bool()
    torch.testing.assert_close(logits[real], expected[real], atol=2e-5, rtol=1e-5)
