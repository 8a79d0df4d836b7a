# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Accelerate: `device_map="auto"`, with layers on disk if memory has no room for them."""

import pytest
from heads import difference, outputs

LIBRARIES = ("accelerate",)


@pytest.mark.parametrize("share", [1.5, 0.6, 0.3])
def test_device_map(head, share, saved, tmp_path, record_property):
    """`device_map="auto"` with memory for all, 60 % and 30 % of the model, the rest on disk; generates"""
    model = head.model()
    memory = int(share * sum(parameter.nbytes for parameter in model.parameters()))
    placed = head.model_class.from_pretrained(
        saved(model), device_map="auto", max_memory={"cpu": memory}, offload_folder=str(tmp_path / "offloaded")
    ).eval()
    places = getattr(placed, "hf_device_map", {"": "cpu"})
    assert ("disk" in places.values()) == (share < 1)
    layers = [name for name, module in model.named_modules() if type(module).__name__ in model._no_split_modules]
    assert layers and not [place for place in places for layer in layers if place.startswith(f"{layer}.")]
    assert share > 1 or any(parameter.is_meta for parameter in placed.parameters())

    found = difference(outputs(placed, head.batch()), outputs(model, head.batch()))
    record_property("placed − whole", found)
    assert found < 1e-6
    if model.can_generate():
        inputs = {name: value for name, value in head.batch().items() if name != "decoder_input_ids"}
        options = {**inputs, "max_new_tokens": 8, "do_sample": False}
        assert placed.generate(**options).equal(model.generate(**options))
