# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""flex_attention compiled, as users have it; the other tests run it uncompiled."""

import pytest
import torch

# one of each way into the kernel: nothing, the rotation before it, terms of distance with and without a table, of content
ENCODINGS = [
    "t5",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("none", "sinusoidal", "learned", "alibi", "rotary", "shaw")),
]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_compiled(make_model, make_batch, no_grad, encoding):
    fields = {"position_encoding": encoding, "position_parameters": {"shaw": {"values": False}}}
    model = make_model(encoder_layers=1, decoder_layers=1, decoder_key_value_heads=2, sliding_window=40, **fields)
    sources, mask = make_batch([[*range(3, 23)] * 8, [*range(5, 16)] * 5], "left")  # two blocks of 128
    sources, mask = sources[:, :130], mask[:, :130]
    inputs = {"input_ids": sources, "attention_mask": mask, "decoder_input_ids": sources}
    model = make_model(**fields, encoder_layers=1, decoder_layers=1, decoder_key_value_heads=2)
    expected = model(**inputs, decoder_attention_mask=mask).logits
    model.set_attn_implementation("flex_attention")
    torch._dynamo.reset()
    logits = model(**inputs, decoder_attention_mask=mask).logits
    torch._dynamo.reset()
    real = mask.bool()
    torch.testing.assert_close(logits[real], expected[real], atol=2e-5, rtol=1e-5)
