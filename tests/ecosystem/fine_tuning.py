# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""TRL's SFTTrainer over Locant's language model."""

from itertools import pairwise

import pytest
import torch
from datasets import Dataset
from heads import SHAPE, difference, outputs
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

from locant import LocantConfig, LocantForCausalLM

LIBRARIES = ("trl",)


@pytest.fixture
def trainer(texts, tokenizer, tmp_path):
    """A function that makes an SFTTrainer on a few sentences; `options` are fields of its config."""

    def make(peft_config=None, **options):
        words = tokenizer("causal_lm")
        model = LocantForCausalLM(LocantConfig(**{**SHAPE, "vocab_size": len(words), "position_encoding": "rotary"}))
        config = SFTConfig(
            output_dir=str(tmp_path),
            max_steps=12,
            learning_rate=1e-2,
            per_device_train_batch_size=4,
            max_length=32,
            bf16=False,
            **options,
        )
        config.set_logging(steps=1, report_to=[])
        return SFTTrainer(
            model,
            config,
            processing_class=words,
            train_dataset=Dataset.from_dict({"text": texts * 4}),
            peft_config=peft_config,
        )

    return make


def train(trainer, record_property):
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
    record_property("loss, last / first", losses[-1] / losses[0])


def leak(trainer):
    """How much the logits of packed texts differ from those of the same texts by themselves."""
    model, batch = trainer.model.eval(), next(iter(trainer.get_train_dataloader()))
    batch.pop("labels")
    assert (batch["position_ids"] == 0).sum() > 4  # more than four texts in one row
    packed = outputs(model, {**batch, "use_cache": False})[0]
    starts = [*(batch["position_ids"][0] == 0).nonzero().flatten().tolist(), packed.shape[0]]
    alone = [outputs(model, {"input_ids": batch["input_ids"][:, start:end]})[0] for start, end in pairwise(starts)]
    return difference(packed, torch.cat(alone))


def test_sft(trainer, record_property):
    """SFTTrainer"""
    train(trainer(), record_property)


def test_sft_with_lora(trainer, record_property):
    """SFTTrainer with `peft_config=LoraConfig()`"""
    tuned = trainer(peft_config=LoraConfig())
    assert tuned.model.peft_config["default"].target_modules == {"q_proj", "v_proj"}
    train(tuned, record_property)


def test_packing(trainer, record_property):
    """SFTTrainer with `packing=True`: packed texts equal texts alone"""
    tuned = trainer(packing=True)
    found = leak(tuned)
    record_property("packed − alone", found)
    assert found < 1e-4
    train(tuned, record_property)
