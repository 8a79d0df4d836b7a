# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""transformers: assisted generation, and the Trainer over compiled models."""

import pytest
import torch
from heads import HEADS
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

LIBRARIES = ("transformers",)


@pytest.mark.parametrize("name", ["translator", "captioner", "language model"])
def test_assisted_generation(name):
    """Assisted generation: a model of one layer drafts, the tokens are those of greedy search"""
    head = HEADS[name]
    model, assistant = head.model(), head.model(decoder_layers=1)
    inputs = {key: value[:1] for key, value in head.batch().items() if key != "decoder_input_ids"}
    options = {**inputs, "max_new_tokens": 16, "min_new_tokens": 16, "do_sample": False}
    drafts = []
    assistant.register_forward_hook(lambda *_: drafts.append(1))
    assert torch.equal(model.generate(**options, assistant_model=assistant), model.generate(**options))
    assert drafts


class Examples(Dataset):
    """A dataset of the rows of a batch."""

    def __init__(self, batch):
        self.batch = batch

    def __len__(self):
        return len(next(iter(self.batch.values())))

    def __getitem__(self, place):
        return {name: values[place] for name, values in self.batch.items()}


def test_trainer_with_compiled_model(tmp_path, record_property):
    """The Trainer with `torch_compile`, on a classifier of images"""
    head = HEADS["image classifier"]
    model, batch = head.model(encoder_layers=1), head.batch(8, targets=True)
    args = TrainingArguments(output_dir=str(tmp_path), torch_compile=True, max_steps=10, learning_rate=1e-2)
    args.set_logging(steps=1, report_to=[])
    trainer = Trainer(model, args, train_dataset=Examples(batch))
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
    record_property("loss, last / first", losses[-1] / losses[0])
