# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""PEFT: LoRA and IA³ with default target modules, and `add_adapter` of transformers, on every head."""

import copy

import pytest
import torch
from heads import HEADS, difference, outputs
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model

LIBRARIES = ("peft",)
TASK_TYPES = {
    "translator": "SEQ_2_SEQ_LM",
    "captioner": "SEQ_2_SEQ_LM",
    "language model": "CAUSAL_LM",
    "sequence classifier": "SEQ_CLS",
    "token classifier": "TOKEN_CLS",
    "question answerer": "QUESTION_ANS",
}
NEW_HEADS = {"SEQ_CLS": "classifier", "TOKEN_CLS": "classifier", "QUESTION_ANS": "qa_outputs"}


def lora(name):
    """The config of LoRA. PEFT knows the new layer of a head from the task, but has no task for images."""
    others = {"modules_to_save": ["classifier"]} if name == "image classifier" else {}
    return LoraConfig(task_type=TASK_TYPES.get(name), r=4, lora_alpha=16, **others)


def train(model, batch, steps=12):
    """Train on one batch, and return the loss of each step."""
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-2)
    losses = []
    for _ in range(steps):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.eval()
    return losses


@pytest.mark.parametrize("name", HEADS)
def test_lora(name, tmp_path, record_property):
    """LoRA: default targets, trains adapters and new heads alone, saves, loads, merges"""
    head = HEADS[name]
    model, config = get_peft_model(head.model(), lora(name)), lora(name)
    assert config.target_modules is None
    assert model.peft_config["default"].target_modules == {"q_proj", "v_proj"}
    adapted = {key.rsplit(".", 2)[0] for key, _ in model.named_modules() if key.endswith("lora_A.default")}
    attentions = [key for key, _ in head.model().named_modules() if key.endswith("_attn")]
    assert len(adapted) == 2 * len(attentions)

    before, untrained = copy.deepcopy(model.state_dict()), outputs(model, head.batch())
    losses = train(model, head.batch(targets=True))
    assert losses[-1] < losses[0]
    record_property("loss, last / first", losses[-1] / losses[0])
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    new_head = NEW_HEADS.get(config.task_type, "classifier" if name == "image classifier" else None)
    assert all("lora_" in key or f"{new_head}.modules_to_save" in key for key in changed)
    assert any("lora_A" in key for key in changed) and any("lora_B" in key for key in changed)
    assert new_head is None or any(f"{new_head}.modules_to_save" in key for key in changed)

    expected = outputs(model, head.batch())
    assert difference(expected, untrained) > 1e-3
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(head.model(), tmp_path).eval()
    assert torch.equal(outputs(loaded, head.batch()), expected)
    merged = model.merge_and_unload()
    assert type(merged) is head.model_class
    record_property("merged − adapted", difference(outputs(merged, head.batch()), expected))
    torch.testing.assert_close(outputs(merged, head.batch()), expected, atol=1e-4, rtol=1e-4)


def test_ia3(head, record_property):
    """IA³: default targets, trains"""
    model = get_peft_model(head.model(), IA3Config())
    assert model.peft_config["default"].target_modules == {"k_proj", "v_proj", "down_proj"}
    losses = train(model, head.batch(targets=True))
    assert losses[-1] < losses[0]
    record_property("loss, last / first", losses[-1] / losses[0])


def test_adapter_of_transformers(head, tmp_path, record_property):
    """`model.add_adapter`, `save_pretrained`, `load_adapter`, without a PeftModel"""
    model = head.model()
    model.add_adapter(LoraConfig(r=4, init_lora_weights=False))
    model.save_pretrained(tmp_path)
    loaded = head.model()
    loaded.load_adapter(str(tmp_path))
    expected = outputs(model.eval(), head.batch())
    assert difference(expected, outputs(head.model(), head.batch())) > 1e-3
    record_property("loaded − saved", difference(outputs(loaded.eval(), head.batch()), expected))
    assert torch.equal(outputs(loaded, head.batch()), expected)
